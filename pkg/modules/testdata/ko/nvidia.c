#include "module.h"
INFO(0, "license=NVIDIA");
INFO(1, "version=535.261.03");
INFO(2, "srcversion=0123456789ABCDEF0123456");
INFO(3, "alias=pci:v000010DEd*sv*sd*bc03sc00i00*");
INFO(4, "firmware=nvidia/535.261.03/gsp_tu10x.bin");
INFO(5, "firmware=nvidia/535.261.03/gsp_ga10x.bin");
INFO(6, "parmtype=NVreg_ModifyDeviceFiles:int");
INFO(7, "parmtype=NVreg_RegistryDwords:charp");
INFO(8, "parm=NVreg_RegistryDwords:Registry keys, as name=value:more");
INFO(9, "depends=");
INFO(10, "retpoline=Y");
INFO(11, "name=nvidia");
INFO(12, "vermagic=" VERMAGIC);
THIS_MODULE("nvidia");
extern void _printk(void), pci_enable_device(void);
EXPORT(nvidia_get_rm_ops);
EXPORT(nvUvmInterfaceRegisterGpu);
int init_module(void) { _printk(); pci_enable_device(); return 0; }
