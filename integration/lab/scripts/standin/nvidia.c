/*
 * Stands in for nvidia.ko where there is no GPU: a PCI driver for NVIDIA's
 * display devices with that module's character devices and files in /proc, as
 * far as user space looks at them, that asks for the same firmware.
 */
#include <linux/firmware.h>
#include <linux/pci.h>
#include <linux/proc_fs.h>
#include <linux/seq_file.h>
#include "standin.h"

#define FIRMWARE "nvidia/" STANDIN_VERSION "/gsp_tu10x.bin"
#define MAX_GPUS 8

static int NVreg_EnableGpuFirmware = 18;
module_param(NVreg_EnableGpuFirmware, int, 0);
static uint NVreg_DeviceFileMode = 0666;
module_param(NVreg_DeviceFileMode, uint, 0);

static struct pci_dev *gpus[MAX_GPUS];
static unsigned int count;
static dev_t caps;
static struct cdev device, control, capability;
static struct proc_dir_entry *proc;

void nvidia_standin_needed(void) { }
EXPORT_SYMBOL(nvidia_standin_needed);

/* The first to open a GPU starts it, which takes its firmware. */
static int standin_open(struct inode *inode, struct file *file)
{
	const struct firmware *firmware;
	unsigned int minor = iminor(inode);
	int err;

	if (minor == 255)
		return 0;
	if (minor >= count)
		return -ENODEV;
	if (!NVreg_EnableGpuFirmware)
		return 0;
	err = request_firmware(&firmware, FIRMWARE, &gpus[minor]->dev);
	if (err) {
		pr_err("NVRM: GPU %s: RmInitAdapter failed!\n", pci_name(gpus[minor]));
		return -EIO;
	}
	pr_info("NVRM: stand-in: firmware of %zu bytes\n", firmware->size);
	release_firmware(firmware);
	return 0;
}

static const struct file_operations operations = { .owner = THIS_MODULE, .open = standin_open };

/* Whoever may open a capability has it. */
static const struct file_operations answering = { .owner = THIS_MODULE };

static int show_version(struct seq_file *s, void *unused)
{
	seq_puts(s, "NVRM version: NVIDIA UNIX x86_64 Kernel Module  " STANDIN_VERSION "  Thu Jan  1 00:00:00 UTC 1970\n"
		    "GCC version:  a stand-in of the tests\n");
	return 0;
}

static int show_params(struct seq_file *s, void *unused)
{
	seq_printf(s, "EnableGpuFirmware: %d\nModifyDeviceFiles: 1\nDeviceFileUID: 0\nDeviceFileGID: 0\nDeviceFileMode: %u\n",
		   NVreg_EnableGpuFirmware, NVreg_DeviceFileMode);
	return 0;
}

static int show_information(struct seq_file *s, void *data)
{
	unsigned int minor = (unsigned long)s->private;

	seq_printf(s, "Model: \t\t Stand-in\nGPU UUID: \t GPU-00000000-0000-0000-0000-%012u\nBus Type: \t PCIe\n"
		   "Bus Location: \t %s\nDevice Minor: \t %u\nGPU Excluded:\t No\n", minor, pci_name(gpus[minor]), minor);
	return 0;
}

static int show_capability(struct seq_file *s, void *data)
{
	/* mig/config is for its owner, mig/monitor for all to read. */
	unsigned int minor = (unsigned long)s->private;

	seq_printf(s, "DeviceFileMinor: %u\nDeviceFileMode: %u\nDeviceFileModify: 1\n", minor, minor == 1 ? 0400 : 0444);
	return 0;
}

static int probe(struct pci_dev *dev, const struct pci_device_id *id)
{
	if (count == MAX_GPUS)
		return -ENOSPC;
	gpus[count++] = dev;
	return 0;
}

static const struct pci_device_id ids[] = {
	{ PCI_DEVICE(PCI_VENDOR_ID_NVIDIA, PCI_ANY_ID), .class = PCI_BASE_CLASS_DISPLAY << 16, .class_mask = 0xff0000 },
	{ }
};

static struct pci_driver driver = { .name = "nvidia", .id_table = ids, .probe = probe };

static int __init standin_init(void)
{
	struct proc_dir_entry *folder, *dir;
	unsigned long i;
	int err;

	err = pci_register_driver(&driver);
	if (err)
		return err;
	if (!count) {
		pr_err("NVRM: No NVIDIA GPU found.\n");
		pci_unregister_driver(&driver);
		return -ENODEV;
	}
	err = register_chrdev_region(MKDEV(NVIDIA_MAJOR, 0), MAX_GPUS, "nvidia");
	if (err)
		goto no_devices;
	err = register_chrdev_region(MKDEV(NVIDIA_MAJOR, 255), 1, "nvidiactl");
	if (err)
		goto no_control;
	err = alloc_chrdev_region(&caps, 0, 32, "nvidia-caps");
	if (err)
		goto no_caps;
	cdev_init(&device, &operations);
	device.owner = THIS_MODULE;
	err = cdev_add(&device, MKDEV(NVIDIA_MAJOR, 0), MAX_GPUS);
	if (err)
		goto no_cdev;
	cdev_init(&control, &operations);
	control.owner = THIS_MODULE;
	err = cdev_add(&control, MKDEV(NVIDIA_MAJOR, 255), 1);
	if (err)
		goto no_control_cdev;
	cdev_init(&capability, &answering);
	capability.owner = THIS_MODULE;
	err = cdev_add(&capability, caps, 32);
	if (err)
		goto no_capability_cdev;

	proc = proc_mkdir("driver/nvidia", NULL);
	proc_create_single("version", 0444, proc, show_version);
	proc_create_single("params", 0444, proc, show_params);
	folder = proc_mkdir("gpus", proc);
	for (i = 0; i < count; i++) {
		dir = proc_mkdir(pci_name(gpus[i]), folder);
		proc_create_single_data("information", 0444, dir, show_information, (void *)i);
	}
	folder = proc_mkdir("capabilities", proc);
	dir = proc_mkdir("mig", folder);
	proc_create_single_data("config", 0444, dir, show_capability, (void *)1);
	proc_create_single_data("monitor", 0444, dir, show_capability, (void *)2);
	return 0;

no_capability_cdev:
	cdev_del(&control);
no_control_cdev:
	cdev_del(&device);
no_cdev:
	unregister_chrdev_region(caps, 32);
no_caps:
	unregister_chrdev_region(MKDEV(NVIDIA_MAJOR, 255), 1);
no_control:
	unregister_chrdev_region(MKDEV(NVIDIA_MAJOR, 0), MAX_GPUS);
no_devices:
	pci_unregister_driver(&driver);
	return err;
}

static void __exit standin_exit(void)
{
	proc_remove(proc);
	cdev_del(&capability);
	cdev_del(&control);
	cdev_del(&device);
	unregister_chrdev_region(caps, 32);
	unregister_chrdev_region(MKDEV(NVIDIA_MAJOR, 255), 1);
	unregister_chrdev_region(MKDEV(NVIDIA_MAJOR, 0), MAX_GPUS);
	pci_unregister_driver(&driver);
}

module_init(standin_init);
module_exit(standin_exit);
MODULE_FIRMWARE(FIRMWARE);
