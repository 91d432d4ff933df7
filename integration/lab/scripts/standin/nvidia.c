/*
 * Stands in for nvidia.ko where there is no GPU: a PCI driver for NVIDIA's
 * display devices with that module's character devices and files in /proc, as
 * far as user space looks at them, that asks for the same firmware. A parameter of
 * its own has a GPU fail, and then it says what NVIDIA's says (nv.c, nv-pci.c and
 * osinit.c of its open modules); another has its first GPU be in parts (MIG).
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

/* The GPUs, by their order on the bus, that do not start, of which there is no BAR1, that
 * are not there at the probe, and that are lost as soon as they have been opened. */
static int standin_fails = -1, standin_bar = -1, standin_gone = -1, standin_lost = -1;
module_param(standin_fails, int, 0644);
module_param(standin_bar, int, 0);
module_param(standin_gone, int, 0);
module_param(standin_lost, int, 0);

static int NVreg_CreateImexChannel0;
module_param(NVreg_CreateImexChannel0, int, 0);

static struct pci_dev *gpus[MAX_GPUS];
static bool started[MAX_GPUS];
static unsigned int count, probed;
static dev_t caps, nvswitch, channels;
static struct cdev device, control, capability, nvswitches;
static struct proc_dir_entry *proc, *proc_nvlink, *proc_nvswitch, *instances;

static int standin_mig_set(const char *value, const struct kernel_param *parameter);
static int standin_mig; /* instances of the first GPU */
static const struct kernel_param_ops standin_mig_ops = { .set = standin_mig_set, .get = param_get_int };
module_param_cb(standin_mig, &standin_mig_ops, &standin_mig, 0644);
__MODULE_PARM_TYPE(standin_mig, "int");

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
	err = 0;
	if (NVreg_EnableGpuFirmware)
		err = request_firmware(&firmware, FIRMWARE, &gpus[minor]->dev);
	if (err || minor == standin_fails) {
		pr_err("NVRM: GPU %s: RmInitAdapter failed! (0x24:0x72:1568)\n", pci_name(gpus[minor]));
		pr_err("NVRM: GPU %s: rm_init_adapter failed, device minor number %u\n", pci_name(gpus[minor]), minor);
		return -EIO;
	}
	started[minor] = true;
	if (NVreg_EnableGpuFirmware) {
		pr_info("NVRM: stand-in: firmware of %zu bytes\n", firmware->size);
		release_firmware(firmware);
	}
	if (minor == standin_lost) {
		pr_err("NVRM: Xid (PCI:%.10s): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus.\n", pci_name(gpus[minor]));
		pr_err("NVRM: GPU %s: GPU has fallen off the bus.\n", pci_name(gpus[minor]));
	}
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
	seq_printf(s, "EnableGpuFirmware: %d\nModifyDeviceFiles: 1\nDeviceFileUID: 0\nDeviceFileGID: 0\nDeviceFileMode: %u\nCreateImexChannel0: %d\n",
		   NVreg_EnableGpuFirmware, NVreg_DeviceFileMode, NVreg_CreateImexChannel0);
	return 0;
}

static int show_information(struct seq_file *s, void *data)
{
	unsigned int minor = (unsigned long)s->private;

	seq_printf(s, "Model: \t\t Stand-in\nGPU UUID: \t GPU-00000000-0000-0000-0000-%012u\nVideo BIOS: \t %s\nBus Type: \t PCIe\n"
		   "Bus Location: \t %s\nDevice Minor: \t %u\nGPU Excluded:\t No\n", minor,
		   started[minor] ? "96.00.74.00.1a" : "??.??.??.??.??", pci_name(gpus[minor]), minor);
	return 0;
}

/* The minor numbers of capabilities, as NVIDIA's module has them (nv-caps.c). */
enum { FABRIC_MGMT = 0, MIG_CONFIG = 1, MIG_MONITOR = 2, GI_FIRST = 3, PER_GI = 9 };

static int show_capability(struct seq_file *s, void *data)
{
	/* mig/config and the fabric's management are for their owner, the others for all to read. */
	unsigned int minor = (unsigned long)s->private;

	seq_printf(s, "DeviceFileMinor: %u\nDeviceFileMode: %u\nDeviceFileModify: 1\n", minor, minor <= MIG_CONFIG ? 0400 : 0444);
	return 0;
}

static int show_permissions(struct seq_file *s, void *data)
{
	seq_puts(s, "DeviceFileMode: 438\nDeviceFileUID: 0\nDeviceFileGID: 0\nDeviceFileModify: 1\n");
	return 0;
}

/* Parts the first GPU into that many instances, numbered from 1, with a compute instance each. */
static void show_instances(void)
{
	char name[8];
	unsigned long i;

	for (i = 1; i <= standin_mig; i++) {
		struct proc_dir_entry *gi, *ci;
		unsigned long minor = GI_FIRST + PER_GI * i; /* there is a gi0, too, for the whole */

		snprintf(name, sizeof(name), "gi%lu", i);
		gi = proc_mkdir(name, instances);
		proc_create_single_data("access", 0444, gi, show_capability, (void *)minor);
		ci = proc_mkdir("ci0", gi);
		proc_create_single_data("access", 0444, ci, show_capability, (void *)(minor + 1));
	}
}

static int standin_mig_set(const char *value, const struct kernel_param *parameter)
{
	int before = standin_mig, err = param_set_int(value, parameter);
	char name[8];
	int i;

	if (err || !instances)
		return err;
	for (i = 1; i <= before; i++) {
		snprintf(name, sizeof(name), "gi%d", i);
		remove_proc_subtree(name, instances);
	}
	show_instances();
	return 0;
}

static int probe(struct pci_dev *dev, const struct pci_device_id *id)
{
	unsigned int n = probed++;

	if (n == standin_gone)
		pr_err("NVRM: The NVIDIA GPU %s\nNVRM: (PCI ID: %04x:%04x) installed in this system has\n"
		       "NVRM: fallen off the bus and is not responding to commands.\n", pci_name(dev), dev->vendor, dev->device);
	if (n == standin_bar)
		pr_err("NVRM: This PCI I/O region assigned to your NVIDIA device is invalid:\n"
		       "NVRM: BAR1 is 0M @ 0x0 (PCI:%s)\n", pci_name(dev));
	if (n == standin_gone || n == standin_bar)
		return -ENODEV;
	if (count == MAX_GPUS)
		return -ENOSPC;
	gpus[count++] = dev;
	return 0;
}

/* The switches between GPUs, as the NVSwitch part of NVIDIA's module shows them (procfs_nvswitch.c). */
static void show_fabric(void)
{
	struct pci_dev *dev = NULL;
	struct proc_dir_entry *folder;

	while ((dev = pci_get_class(PCI_CLASS_BRIDGE_OTHER << 8, dev)))
		if (dev->vendor == PCI_VENDOR_ID_NVIDIA) {
			if (!proc_nvswitch) {
				proc_nvswitch = proc_mkdir("driver/nvidia-nvswitch", NULL);
				proc_create_single("permissions", 0444, proc_nvswitch, show_permissions);
				folder = proc_mkdir("devices", proc_nvswitch);
			}
			proc_mkdir(pci_name(dev), folder);
		}
	proc_nvlink = proc_mkdir("driver/nvidia-nvlink", NULL);
	folder = proc_mkdir("capabilities", proc_nvlink);
	proc_create_single_data("fabric-mgmt", 0444, folder, show_capability, (void *)FABRIC_MGMT);
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

	pr_info("nvidia-nvlink: Nvlink Core is being initialized, major device number 511\n");
	err = pci_register_driver(&driver);
	if (err)
		return err;
	if (!count) {
		if (probed)
			pr_err("NVRM: The NVIDIA probe routine failed for %u device(s).\nNVRM: None of the NVIDIA devices were initialized.\n", probed);
		else
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
	err = alloc_chrdev_region(&caps, 0, 128, "nvidia-caps");
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
	err = cdev_add(&capability, caps, 128);
	if (err)
		goto no_capability_cdev;
	err = alloc_chrdev_region(&nvswitch, 0, 256, "nvidia-nvswitch");
	if (err)
		goto no_nvswitch;
	cdev_init(&nvswitches, &answering);
	nvswitches.owner = THIS_MODULE;
	err = cdev_add(&nvswitches, nvswitch, 256);
	if (err)
		goto no_nvswitch_cdev;
	err = alloc_chrdev_region(&channels, 0, 2048, "nvidia-caps-imex-channels"); /* nobody opens one */
	if (err)
		goto no_channels;

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
	proc_create_single_data("config", 0444, dir, show_capability, (void *)MIG_CONFIG);
	proc_create_single_data("monitor", 0444, dir, show_capability, (void *)MIG_MONITOR);
	instances = proc_mkdir("mig", proc_mkdir("gpu0", folder));
	show_instances();
	show_fabric();
	pr_info("NVRM: loading NVIDIA UNIX x86_64 Kernel Module  " STANDIN_VERSION "  Thu Jan  1 00:00:00 UTC 1970\n");
	return 0;

no_channels:
	cdev_del(&nvswitches);
no_nvswitch_cdev:
	unregister_chrdev_region(nvswitch, 256);
no_nvswitch:
	cdev_del(&capability);

no_capability_cdev:
	cdev_del(&control);
no_control_cdev:
	cdev_del(&device);
no_cdev:
	unregister_chrdev_region(caps, 128);
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
	proc_remove(proc_nvlink);
	proc_remove(proc_nvswitch);
	unregister_chrdev_region(channels, 2048);
	cdev_del(&nvswitches);
	unregister_chrdev_region(nvswitch, 256);
	cdev_del(&capability);
	cdev_del(&control);
	cdev_del(&device);
	unregister_chrdev_region(caps, 128);
	unregister_chrdev_region(MKDEV(NVIDIA_MAJOR, 255), 1);
	unregister_chrdev_region(MKDEV(NVIDIA_MAJOR, 0), MAX_GPUS);
	pci_unregister_driver(&driver);
}

module_init(standin_init);
module_exit(standin_exit);
MODULE_FIRMWARE(FIRMWARE);
