#include "module.h"
INFO(0, "license=Dual MIT/GPL");
INFO(1, "version=535.261.03");
INFO(2, "parm=modeset:Enable atomic kernel modesetting (bool)");
INFO(3, "parmtype=modeset:bool");
INFO(4, "depends=drm,drm_kms_helper,nvidia-modeset");
INFO(5, "name=nvidia_drm");
INFO(6, "vermagic=" VERMAGIC);
THIS_MODULE("nvidia_drm");
extern void nvKmsKapiGetFunctionsTable(void), drm_dev_register(void);
int init_module(void) { nvKmsKapiGetFunctionsTable(); drm_dev_register(); return 0; }
