// Includes what NVIDIA's modules include of the kernel's, those of driver 535.261.03 and of
// the open ones of 595.45.04, as far as a kernel has it.

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
#if __has_include(<linux/vfio.h>)
#include <linux/vfio.h>
#endif
#if __has_include(<linux/mdev.h>)
#include <linux/mdev.h>
#endif
#if __has_include(<soc/tegra/bpmp-abi.h>)
#include <soc/tegra/bpmp-abi.h>
#endif
#if __has_include(<drm/drm_aperture.h>)
#include <drm/drm_aperture.h>
#endif
#if __has_include(<linux/nvhost.h>)
#include <linux/nvhost.h>
#endif
#if __has_include(<linux/devfreq.h>)
#include <linux/devfreq.h>
#endif
#if __has_include(<asm/cacheflush.h>)
#include <asm/cacheflush.h>
#endif
#if __has_include(<linux/thermal.h>)
#include <linux/thermal.h>
#endif
#if __has_include(<linux/memory_hotplug.h>)
#include <linux/memory_hotplug.h>
#endif
#if __has_include(<drm/drm_fb_helper.h>)
#include <drm/drm_fb_helper.h>
#endif
#if __has_include(<soc/tegra/bpmp.h>)
#include <soc/tegra/bpmp.h>
#endif
#if __has_include(<linux/tracepoint.h>)
#include <linux/tracepoint.h>
#endif
#if __has_include(<linux/host1x-next.h>)
#include <linux/host1x-next.h>
#endif
#if __has_include(<linux/crypto.h>)
#include <linux/crypto.h>
#endif
#if __has_include(<linux/autoconf.h>)
#include <linux/autoconf.h>
#endif
#if __has_include(<linux/aperture.h>)
#include <linux/aperture.h>
#endif
#if __has_include(<generated/autoconf.h>)
#include <generated/autoconf.h>
#endif
#if __has_include(<drm/drm_mode_config.h>)
#include <drm/drm_mode_config.h>
#endif
#if __has_include(<uapi/drm/drm_mode.h>)
#include <uapi/drm/drm_mode.h>
#endif
#if __has_include(<linux/sync_file.h>)
#include <linux/sync_file.h>
#endif
#if __has_include(<linux/reservation.h>)
#include <linux/reservation.h>
#endif
#if __has_include(<linux/pm_domain.h>)
#include <linux/pm_domain.h>
#endif
#if __has_include(<linux/pid.h>)
#include <linux/pid.h>
#endif
#if __has_include(<linux/kconfig.h>)
#include <linux/kconfig.h>
#endif
#if __has_include(<linux/irqbypass.h>)
#include <linux/irqbypass.h>
#endif
#if __has_include(<linux/hmm.h>)
#include <linux/hmm.h>
#endif
#if __has_include(<linux/eventfd.h>)
#include <linux/eventfd.h>
#endif
#if __has_include(<drm/drm_sysfs.h>)
#include <drm/drm_sysfs.h>
#endif
#if __has_include(<drm/drm_modeset_helper_vtables.h>)
#include <drm/drm_modeset_helper_vtables.h>
#endif
#if __has_include(<drm/drm_fbdev_ttm.h>)
#include <drm/drm_fbdev_ttm.h>
#endif
#if __has_include(<drm/drm_fbdev_generic.h>)
#include <drm/drm_fbdev_generic.h>
#endif
#if __has_include(<drm/drm_color_mgmt.h>)
#include <drm/drm_color_mgmt.h>
#endif
#if __has_include(<drm/drm_client_setup.h>)
#include <drm/drm_client_setup.h>
#endif
#if __has_include(<drm/clients/drm_client_setup.h>)
#include <drm/clients/drm_client_setup.h>
#endif
#if __has_include(<asm/mshyperv.h>)
#include <asm/mshyperv.h>
#endif
#if __has_include(<uapi/drm/drm_fourcc.h>)
#include <uapi/drm/drm_fourcc.h>
#endif
#if __has_include(<soc/tegra/tegra_bpmp.h>)
#include <soc/tegra/tegra_bpmp.h>
#endif
#if __has_include(<linux/vfio_pci_core.h>)
#include <linux/vfio_pci_core.h>
#endif
#if __has_include(<linux/userfaultfd_k.h>)
#include <linux/userfaultfd_k.h>
#endif
#if __has_include(<linux/sys_soc.h>)
#include <linux/sys_soc.h>
#endif
#if __has_include(<linux/swiotlb.h>)
#include <linux/swiotlb.h>
#endif
#if __has_include(<linux/suspend.h>)
#include <linux/suspend.h>
#endif
#if __has_include(<linux/stacktrace.h>)
#include <linux/stacktrace.h>
#endif
#if __has_include(<linux/rmap.h>)
#include <linux/rmap.h>
#endif
#if __has_include(<linux/pm.h>)
#include <linux/pm.h>
#endif
#if __has_include(<linux/platform/tegra/mc_utils.h>)
#include <linux/platform/tegra/mc_utils.h>
#endif
#if __has_include(<linux/platform/tegra/dce/dce-client-ipc.h>)
#include <linux/platform/tegra/dce/dce-client-ipc.h>
#endif
#if __has_include(<linux/pid_namespace.h>)
#include <linux/pid_namespace.h>
#endif
#if __has_include(<linux/pfn_t.h>)
#include <linux/pfn_t.h>
#endif
#if __has_include(<linux/pci_ids.h>)
#include <linux/pci_ids.h>
#endif
#if __has_include(<linux/pci-p2pdma.h>)
#include <linux/pci-p2pdma.h>
#endif
#if __has_include(<linux/pci-ats.h>)
#include <linux/pci-ats.h>
#endif
#if __has_include(<linux/page-flags.h>)
#include <linux/page-flags.h>
#endif
#if __has_include(<linux/of_address.h>)
#include <linux/of_address.h>
#endif
#if __has_include(<linux/nvhost_t194.h>)
#include <linux/nvhost_t194.h>
#endif
#if __has_include(<linux/nvgrace-egm.h>)
#include <linux/nvgrace-egm.h>
#endif
#if __has_include(<linux/mpi.h>)
#include <linux/mpi.h>
#endif
#if __has_include(<linux/mmu_context.h>)
#include <linux/mmu_context.h>
#endif
#if __has_include(<linux/memory-failure.h>)
#include <linux/memory-failure.h>
#endif
#if __has_include(<linux/math.h>)
#include <linux/math.h>
#endif
#if __has_include(<linux/lockdep.h>)
#include <linux/lockdep.h>
#endif
#if __has_include(<linux/kdb.h>)
#include <linux/kdb.h>
#endif
#if __has_include(<linux/ioprio.h>)
#include <linux/ioprio.h>
#endif
#if __has_include(<linux/ioasid.h>)
#include <linux/ioasid.h>
#endif
#if __has_include(<linux/gfp.h>)
#include <linux/gfp.h>
#endif
#if __has_include(<linux/gdb.h>)
#include <linux/gdb.h>
#endif
#if __has_include(<linux/egm.h>)
#include <linux/egm.h>
#endif
#if __has_include(<linux/dma-direct.h>)
#include <linux/dma-direct.h>
#endif
#if __has_include(<linux/device/class.h>)
#include <linux/device/class.h>
#endif
#if __has_include(<linux/cpuset.h>)
#include <linux/cpuset.h>
#endif
#if __has_include(<linux/bitops.h>)
#include <linux/bitops.h>
#endif
#if __has_include(<generated/utsrelease.h>)
#include <generated/utsrelease.h>
#endif
#if __has_include(<drm/drm_print.h>)
#include <drm/drm_print.h>
#endif
#if __has_include(<drm/drm_modeset_lock.h>)
#include <drm/drm_modeset_lock.h>
#endif
#if __has_include(<drm/drm_modeset_helper.h>)
#include <drm/drm_modeset_helper.h>
#endif
#if __has_include(<drm/drm_mode.h>)
#include <drm/drm_mode.h>
#endif
#if __has_include(<drm/drm_atomic_state_helper.h>)
#include <drm/drm_atomic_state_helper.h>
#endif
#if __has_include(<asm/system.h>)
#include <asm/system.h>
#endif
#if __has_include(<asm/maddr.h>)
#include <asm/maddr.h>
#endif
#if __has_include(<asm/kdb.h>)
#include <asm/kdb.h>
#endif
#if __has_include(<asm/dma-mapping.h>)
#include <asm/dma-mapping.h>
#endif
