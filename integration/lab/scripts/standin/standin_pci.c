/*
 * Stands in for slots with graphics cards of NVIDIA's, and for the NVSwitches behind
 * them: a PCI bus of its own, whose devices have an identity and nothing else.
 */
#include <linux/module.h>
#include <linux/pci.h>

#define BUS 0x65

#define MAX_DEVICES 16

static ushort device[MAX_DEVICES] = { 0x2330 }; /* an H100 */
static unsigned int devices;
module_param_array(device, ushort, &devices, 0);
static ushort nvswitch[MAX_DEVICES]; /* 0x22a3 is that of an HGX H100 */
static unsigned int nvswitches;
module_param_array(nvswitch, ushort, &nvswitches, 0);

static u32 config[2 * MAX_DEVICES][64];
static struct pci_bus *bus;
static struct pci_sysdata sysdata = { .node = NUMA_NO_NODE };

static int config_read(struct pci_bus *b, unsigned int devfn, int where, int size, u32 *value)
{
	u32 *is = config[PCI_SLOT(devfn)];

	if (b->number != BUS || PCI_FUNC(devfn) || !is[0] || where >= (int)sizeof(config[0])) {
		*value = ~0;
		return PCIBIOS_DEVICE_NOT_FOUND;
	}
	*value = is[where / 4] >> (where % 4 * 8);
	if (size < 4)
		*value &= (1U << (size * 8)) - 1;
	return PCIBIOS_SUCCESSFUL;
}

static int config_write(struct pci_bus *b, unsigned int devfn, int where, int size, u32 value)
{
	return PCIBIOS_SUCCESSFUL; /* no base addresses, and nothing to switch */
}

static struct pci_ops operations = { .read = config_read, .write = config_write };

static int __init standin_init(void)
{
	LIST_HEAD(resources);
	unsigned int i;

	if (!devices && !nvswitches)
		devices = 1;
	for (i = 0; i < devices + nvswitches; i++) {
		bool gpu = i < devices;

		config[i][PCI_VENDOR_ID / 4] = (u32)(gpu ? device[i] : nvswitch[i - devices]) << 16 | PCI_VENDOR_ID_NVIDIA;
		config[i][PCI_CLASS_REVISION / 4] = (gpu ? PCI_CLASS_DISPLAY_3D : PCI_CLASS_BRIDGE_OTHER) << 16 | 0xa1;
	}
	pci_lock_rescan_remove();
	bus = pci_scan_root_bus(NULL, BUS, &operations, &sysdata, &resources);
	if (bus)
		pci_bus_add_devices(bus);
	pci_unlock_rescan_remove();
	return bus ? 0 : -ENODEV;
}

static void __exit standin_exit(void)
{
	pci_lock_rescan_remove();
	pci_stop_root_bus(bus);
	pci_remove_root_bus(bus);
	pci_unlock_rescan_remove();
}

module_init(standin_init);
module_exit(standin_exit);
MODULE_LICENSE("GPL");
