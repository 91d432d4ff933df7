/* Stands in for nouveau.ko: takes every graphics card of NVIDIA's that is free. */
#include <linux/module.h>
#include <linux/pci.h>

static int probe(struct pci_dev *dev, const struct pci_device_id *id) { return 0; }

static const struct pci_device_id ids[] = {
	{ PCI_DEVICE(PCI_VENDOR_ID_NVIDIA, PCI_ANY_ID), .class = PCI_BASE_CLASS_DISPLAY << 16, .class_mask = 0xff0000 },
	{ }
};

static struct pci_driver nouveau = { .name = "nouveau", .id_table = ids, .probe = probe };

module_pci_driver(nouveau);
MODULE_LICENSE("GPL");
