#include "module.h"
INFO(0, "license=NVIDIA");
INFO(1, "version=535.261.03");
INFO(2, "depends=nvidia,video");
INFO(3, "name=nvidia_modeset");
INFO(4, "vermagic=" VERMAGIC);
THIS_MODULE("nvidia_modeset");
extern void nvidia_get_rm_ops(void), acpi_video_register(void);
EXPORT(nvKmsKapiGetFunctionsTable);
int init_module(void) { nvidia_get_rm_ops(); acpi_video_register(); return 0; }
