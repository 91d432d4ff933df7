/* Stands in for nvidia-uvm.ko: its character devices, whose number is the kernel's to choose. */
#include "standin.h"

static dev_t number;
static struct cdev device;

static const struct file_operations operations = { .owner = THIS_MODULE };

static int __init standin_init(void)
{
	int err;

	nvidia_standin_needed();
	err = alloc_chrdev_region(&number, 0, 2, "nvidia-uvm");
	if (err)
		return err;
	cdev_init(&device, &operations);
	device.owner = THIS_MODULE;
	err = cdev_add(&device, number, 2);
	if (err)
		unregister_chrdev_region(number, 2);
	return err;
}

static void __exit standin_exit(void)
{
	cdev_del(&device);
	unregister_chrdev_region(number, 2);
}

module_init(standin_init);
module_exit(standin_exit);
