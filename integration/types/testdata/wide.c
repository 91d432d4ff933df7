// Includes what NVIDIA's modules of the 535 line include of the kernel's on Linux 6.1, as
// far as the kernel has it.

#if __has_include(<linux/kernel.h>)
#include <linux/kernel.h>
#endif
#if __has_include(<linux/module.h>)
#include <linux/module.h>
#endif
#if __has_include(<linux/pci.h>)
#include <linux/pci.h>
#endif
#if __has_include(<drm/drm_probe_helper.h>)
#include <drm/drm_probe_helper.h>
#endif
#if __has_include(<drm/drm_crtc_helper.h>)
#include <drm/drm_crtc_helper.h>
#endif
#if __has_include(<drm/drm_atomic.h>)
#include <drm/drm_atomic.h>
#endif
#if __has_include(<drm/drm_atomic_helper.h>)
#include <drm/drm_atomic_helper.h>
#endif
#if __has_include(<drm/drm_edid.h>)
#include <drm/drm_edid.h>
#endif
#if __has_include(<linux/refcount.h>)
#include <linux/refcount.h>
#endif
#if __has_include(<drm/drm_drv.h>)
#include <drm/drm_drv.h>
#endif
#if __has_include(<drm/drm_blend.h>)
#include <drm/drm_blend.h>
#endif
#if __has_include(<drm/drm_prime.h>)
#include <drm/drm_prime.h>
#endif
#if __has_include(<drm/drm_crtc.h>)
#include <drm/drm_crtc.h>
#endif
#if __has_include(<drm/drm_auth.h>)
#include <drm/drm_auth.h>
#endif
#if __has_include(<drm/drm_file.h>)
#include <drm/drm_file.h>
#endif
#if __has_include(<drm/drm_connector.h>)
#include <drm/drm_connector.h>
#endif
#if __has_include(<drm/drm_fourcc.h>)
#include <drm/drm_fourcc.h>
#endif
#if __has_include(<drm/drm_vma_manager.h>)
#include <drm/drm_vma_manager.h>
#endif
#if __has_include(<drm/drm_device.h>)
#include <drm/drm_device.h>
#endif
#if __has_include(<drm/drm_gem.h>)
#include <drm/drm_gem.h>
#endif
#if __has_include(<drm/drm_encoder.h>)
#include <drm/drm_encoder.h>
#endif
#if __has_include(<drm/drm_plane_helper.h>)
#include <drm/drm_plane_helper.h>
#endif
#if __has_include(<drm/drm_framebuffer.h>)
#include <drm/drm_framebuffer.h>
#endif
#if __has_include(<linux/dma-buf.h>)
#include <linux/dma-buf.h>
#endif
#if __has_include(<linux/mm.h>)
#include <linux/mm.h>
#endif
#if __has_include(<linux/sched.h>)
#include <linux/sched.h>
#endif
#if __has_include(<linux/dma-fence.h>)
#include <linux/dma-fence.h>
#endif
#if __has_include(<linux/dma-resv.h>)
#include <linux/dma-resv.h>
#endif
#if __has_include(<drm/drm.h>)
#include <drm/drm.h>
#endif
#if __has_include(<drm/drm_vblank.h>)
#include <drm/drm_vblank.h>
#endif
#if __has_include(<drm/drm_ioctl.h>)
#include <drm/drm_ioctl.h>
#endif
#if __has_include(<linux/bitmap.h>)
#include <linux/bitmap.h>
#endif
#if __has_include(<linux/io.h>)
#include <linux/io.h>
#endif
#if __has_include(<drm/drm_atomic_uapi.h>)
#include <drm/drm_atomic_uapi.h>
#endif
#if __has_include(<linux/slab.h>)
#include <linux/slab.h>
#endif
#if __has_include(<linux/err.h>)
#include <linux/err.h>
#endif
#if __has_include(<linux/vmalloc.h>)
#include <linux/vmalloc.h>
#endif
#if __has_include(<drm/drm_plane.h>)
#include <drm/drm_plane.h>
#endif
#if __has_include(<drm/drm_modes.h>)
#include <drm/drm_modes.h>
#endif
#if __has_include(<linux/kthread.h>)
#include <linux/kthread.h>
#endif
#if __has_include(<linux/interrupt.h>)
#include <linux/interrupt.h>
#endif
#if __has_include(<linux/completion.h>)
#include <linux/completion.h>
#endif
#if __has_include(<linux/bug.h>)
#include <linux/bug.h>
#endif
#if __has_include(<asm/bug.h>)
#include <asm/bug.h>
#endif
#if __has_include(<linux/types.h>)
#include <linux/types.h>
#endif
#if __has_include(<linux/list.h>)
#include <linux/list.h>
#endif
#if __has_include(<linux/numa.h>)
#include <linux/numa.h>
#endif
#if __has_include(<linux/semaphore.h>)
#include <linux/semaphore.h>
#endif
#if __has_include(<linux/string.h>)
#include <linux/string.h>
#endif
#if __has_include(<linux/delay.h>)
#include <linux/delay.h>
#endif
#if __has_include(<asm/div64.h>)
#include <asm/div64.h>
#endif
#if __has_include(<linux/wait.h>)
#include <linux/wait.h>
#endif
#if __has_include(<linux/random.h>)
#include <linux/random.h>
#endif
#if __has_include(<linux/file.h>)
#include <linux/file.h>
#endif
#if __has_include(<linux/rwsem.h>)
#include <linux/rwsem.h>
#endif
#if __has_include(<linux/freezer.h>)
#include <linux/freezer.h>
#endif
#if __has_include(<acpi/video.h>)
#include <acpi/video.h>
#endif
#if __has_include(<linux/backlight.h>)
#include <linux/backlight.h>
#endif
#if __has_include(<linux/fs.h>)
#include <linux/fs.h>
#endif
#if __has_include(<linux/poll.h>)
#include <linux/poll.h>
#endif
#if __has_include(<asm/atomic.h>)
#include <asm/atomic.h>
#endif
#if __has_include(<linux/stddef.h>)
#include <linux/stddef.h>
#endif
#if __has_include(<linux/stdarg.h>)
#include <linux/stdarg.h>
#endif
#if __has_include(<linux/proc_fs.h>)
#include <linux/proc_fs.h>
#endif
#if __has_include(<linux/seq_file.h>)
#include <linux/seq_file.h>
#endif
#if __has_include(<linux/ktime.h>)
#include <linux/ktime.h>
#endif
#if __has_include(<linux/spinlock.h>)
#include <linux/spinlock.h>
#endif
#if __has_include(<linux/sched/signal.h>)
#include <linux/sched/signal.h>
#endif
#if __has_include(<linux/dma-mapping.h>)
#include <linux/dma-mapping.h>
#endif
#if __has_include(<linux/init.h>)
#include <linux/init.h>
#endif
#if __has_include(<linux/errno.h>)
#include <linux/errno.h>
#endif
#if __has_include(<linux/hugetlb.h>)
#include <linux/hugetlb.h>
#endif
#if __has_include(<linux/scatterlist.h>)
#include <linux/scatterlist.h>
#endif
#if __has_include(<linux/cpumask.h>)
#include <linux/cpumask.h>
#endif
#if __has_include(<linux/version.h>)
#include <linux/version.h>
#endif
#if __has_include(<linux/utsname.h>)
#include <linux/utsname.h>
#endif
#if __has_include(<linux/kmod.h>)
#include <linux/kmod.h>
#endif
#if __has_include(<linux/ctype.h>)
#include <linux/ctype.h>
#endif
#if __has_include(<linux/console.h>)
#include <linux/console.h>
#endif
#if __has_include(<linux/cpufreq.h>)
#include <linux/cpufreq.h>
#endif
#if __has_include(<linux/sched/task.h>)
#include <linux/sched/task.h>
#endif
#if __has_include(<linux/moduleparam.h>)
#include <linux/moduleparam.h>
#endif
#if __has_include(<asm/tlbflush.h>)
#include <asm/tlbflush.h>
#endif
#if __has_include(<linux/timer.h>)
#include <linux/timer.h>
#endif
#if __has_include(<linux/rbtree.h>)
#include <linux/rbtree.h>
#endif
#if __has_include(<linux/cpu.h>)
#include <linux/cpu.h>
#endif
#if __has_include(<linux/pm_runtime.h>)
#include <linux/pm_runtime.h>
#endif
#if __has_include(<linux/fdtable.h>)
#include <linux/fdtable.h>
#endif
#if __has_include(<asm/io.h>)
#include <asm/io.h>
#endif
#if __has_include(<asm/uaccess.h>)
#include <asm/uaccess.h>
#endif
#if __has_include(<asm/page.h>)
#include <asm/page.h>
#endif
#if __has_include(<asm/pgtable.h>)
#include <asm/pgtable.h>
#endif
#if __has_include(<asm/bitops.h>)
#include <asm/bitops.h>
#endif
#if __has_include(<linux/time.h>)
#include <linux/time.h>
#endif
#if __has_include(<linux/vgaarb.h>)
#include <linux/vgaarb.h>
#endif
#if __has_include(<linux/pagemap.h>)
#include <linux/pagemap.h>
#endif
#if __has_include(<linux/dma-map-ops.h>)
#include <linux/dma-map-ops.h>
#endif
#if __has_include(<linux/highmem.h>)
#include <linux/highmem.h>
#endif
#if __has_include(<linux/nodemask.h>)
#include <linux/nodemask.h>
#endif
#if __has_include(<linux/memory.h>)
#include <linux/memory.h>
#endif
#if __has_include(<linux/workqueue.h>)
#include <linux/workqueue.h>
#endif
#if __has_include(<linux/efi.h>)
#include <linux/efi.h>
#endif
#if __has_include(<linux/fb.h>)
#include <linux/fb.h>
#endif
#if __has_include(<linux/screen_info.h>)
#include <linux/screen_info.h>
#endif
#if __has_include(<asm/set_memory.h>)
#include <asm/set_memory.h>
#endif
#if __has_include(<asm/kgdb.h>)
#include <asm/kgdb.h>
#endif
#if __has_include(<linux/notifier.h>)
#include <linux/notifier.h>
#endif
#if __has_include(<linux/i2c.h>)
#include <linux/i2c.h>
#endif
#if __has_include(<linux/acpi.h>)
#include <linux/acpi.h>
#endif
#if __has_include(<linux/platform_device.h>)
#include <linux/platform_device.h>
#endif
#if __has_include(<linux/mutex.h>)
#include <linux/mutex.h>
#endif
#if __has_include(<linux/reset.h>)
#include <linux/reset.h>
#endif
#if __has_include(<linux/gpio.h>)
#include <linux/gpio.h>
#endif
#if __has_include(<linux/of_gpio.h>)
#include <linux/of_gpio.h>
#endif
#if __has_include(<linux/of_device.h>)
#include <linux/of_device.h>
#endif
#if __has_include(<linux/of_platform.h>)
#include <linux/of_platform.h>
#endif
#if __has_include(<linux/interconnect.h>)
#include <linux/interconnect.h>
#endif
#if __has_include(<linux/clk.h>)
#include <linux/clk.h>
#endif
#if __has_include(<linux/clk-provider.h>)
#include <linux/clk-provider.h>
#endif
#if __has_include(<linux/log2.h>)
#include <linux/log2.h>
#endif
#if __has_include(<linux/jhash.h>)
#include <linux/jhash.h>
#endif
#if __has_include(<asm/barrier.h>)
#include <asm/barrier.h>
#endif
#if __has_include(<linux/atomic.h>)
#include <linux/atomic.h>
#endif
#if __has_include(<asm/current.h>)
#include <asm/current.h>
#endif
#if __has_include(<linux/radix-tree.h>)
#include <linux/radix-tree.h>
#endif
#if __has_include(<linux/percpu.h>)
#include <linux/percpu.h>
#endif
#if __has_include(<linux/printk.h>)
#include <linux/printk.h>
#endif
#if __has_include(<linux/ratelimit.h>)
#include <linux/ratelimit.h>
#endif
#if __has_include(<linux/sched/task_stack.h>)
#include <linux/sched/task_stack.h>
#endif
#if __has_include(<linux/topology.h>)
#include <linux/topology.h>
#endif
#if __has_include(<asm/pgtable_types.h>)
#include <asm/pgtable_types.h>
#endif
#if __has_include(<linux/mmu_notifier.h>)
#include <linux/mmu_notifier.h>
#endif
#if __has_include(<linux/memremap.h>)
#include <linux/memremap.h>
#endif
#if __has_include(<linux/migrate.h>)
#include <linux/migrate.h>
#endif
#if __has_include(<asm/mmu.h>)
#include <asm/mmu.h>
#endif
#if __has_include(<linux/iommu.h>)
#include <linux/iommu.h>
#endif
#if __has_include(<linux/sched/mm.h>)
#include <linux/sched/mm.h>
#endif
#if __has_include(<linux/mempolicy.h>)
#include <linux/mempolicy.h>
#endif
#if __has_include(<linux/of.h>)
#include <linux/of.h>
#endif
#if __has_include(<linux/sizes.h>)
#include <linux/sizes.h>
#endif
#if __has_include(<linux/mm_types.h>)
#include <linux/mm_types.h>
#endif
#if __has_include(<linux/device.h>)
#include <linux/device.h>
#endif
#if __has_include(<linux/sort.h>)
#include <linux/sort.h>
#endif
#if __has_include(<linux/memcontrol.h>)
#include <linux/memcontrol.h>
#endif
#if __has_include(<linux/limits.h>)
#include <linux/limits.h>
#endif
#if __has_include(<linux/cdev.h>)
#include <linux/cdev.h>
#endif
#if __has_include(<linux/uaccess.h>)
#include <linux/uaccess.h>
#endif
#if __has_include(<linux/jiffies.h>)
#include <linux/jiffies.h>
#endif
#if __has_include(<linux/syscalls.h>)
#include <linux/syscalls.h>
#endif
#if __has_include(<linux/hash.h>)
#include <linux/hash.h>
#endif
#if __has_include(<linux/stringhash.h>)
#include <linux/stringhash.h>
#endif
#if __has_include(<linux/dcache.h>)
#include <linux/dcache.h>
#endif
#if __has_include(<linux/hrtimer.h>)
#include <linux/hrtimer.h>
#endif
#if __has_include(<linux/kernfs.h>)
#include <linux/kernfs.h>
#endif
#if __has_include(<linux/firmware.h>)
#include <linux/firmware.h>
#endif
#if __has_include(<sound/core.h>)
#include <sound/core.h>
#endif
#if __has_include(<asm/cache.h>)
#include <asm/cache.h>
#endif
#if __has_include(<sound/hdaudio.h>)
#include <sound/hdaudio.h>
#endif
#if __has_include(<sound/hda_codec.h>)
#include <sound/hda_codec.h>
#endif
#if __has_include(<sound/hda_verbs.h>)
#include <sound/hda_verbs.h>
#endif
#if __has_include(<linux/uio.h>)
#include <linux/uio.h>
#endif
#if __has_include(<linux/dmi.h>)
#include <linux/dmi.h>
#endif
#if __has_include(<linux/ioport.h>)
#include <linux/ioport.h>
#endif
#if __has_include(<linux/cc_platform.h>)
#include <linux/cc_platform.h>
#endif
#if __has_include(<asm/cpufeature.h>)
#include <asm/cpufeature.h>
#endif
#if __has_include(<linux/major.h>)
#include <linux/major.h>
#endif
#if __has_include(<linux/mmzone.h>)
#include <linux/mmzone.h>
#endif
