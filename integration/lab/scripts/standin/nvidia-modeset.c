/* Stands in for nvidia-modeset.ko: its character device. */
#include "standin.h"

static struct cdev device;

static const struct file_operations operations = { .owner = THIS_MODULE };

static int __init standin_init(void)
{
	int err;

	nvidia_standin_needed();
	err = register_chrdev_region(MKDEV(NVIDIA_MAJOR, 254), 1, "nvidia-modeset");
	if (err)
		return err;
	cdev_init(&device, &operations);
	device.owner = THIS_MODULE;
	err = cdev_add(&device, MKDEV(NVIDIA_MAJOR, 254), 1);
	if (err)
		unregister_chrdev_region(MKDEV(NVIDIA_MAJOR, 254), 1);
	return err;
}

static void __exit standin_exit(void)
{
	cdev_del(&device);
	unregister_chrdev_region(MKDEV(NVIDIA_MAJOR, 254), 1);
}

module_init(standin_init);
module_exit(standin_exit);
