#include "module.h"
INFO(0, "license=Dual MIT/GPL");
INFO(1, "version=535.261.03");
INFO(2, "depends=nvidia");
INFO(3, "name=nvidia_uvm");
INFO(4, "vermagic=" VERMAGIC);
THIS_MODULE("nvidia_uvm");
extern void nvUvmInterfaceRegisterGpu(void), _printk(void);
int init_module(void) { nvUvmInterfaceRegisterGpu(); _printk(); return 0; }
