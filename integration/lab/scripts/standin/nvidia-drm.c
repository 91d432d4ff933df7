/* Stands in for nvidia-drm.ko: needs drm, a module of the kernel's own. */
#include <drm/drm_file.h>
#include "standin.h"

static int (*volatile needed)(struct inode *, struct file *);

static int __init standin_init(void)
{
	nvidia_standin_needed();
	needed = drm_open;
	return 0;
}

static void __exit standin_exit(void) { }

module_init(standin_init);
module_exit(standin_exit);
