// Says the vendor of the first device on the PCI bus, as its headers have it.
#include <linux/module.h>
#include <linux/pci.h>

static int __init reader_init(void)
{
	struct pci_dev *dev = pci_get_device(PCI_ANY_ID, PCI_ANY_ID, NULL);

	if (!dev)
		return -ENODEV;
	pr_info("reader: vendor %04x\n", dev->vendor);
	pci_dev_put(dev);
	return 0;
}

static void __exit reader_exit(void) { }

module_init(reader_init);
module_exit(reader_exit);
MODULE_LICENSE("GPL");
