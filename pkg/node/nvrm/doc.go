// Package nvrm reads what NVIDIA's kernel modules, whose name for themselves is NVRM,
// say of GPUs in the kernel's log: which of them do not come up, and what helps.
//
// [SinceLoad] cuts from a log what came before the driver that is loaded now, and
// [Read] finds the messages about a GPU. The texts are those of NVIDIA's open kernel
// modules (kernel-open/nvidia/nv.c and nv-pci.c; osinit.c and osapi.c below
// src/nvidia/arch/nvalloc/unix/src; gpu.c and gsp/kernel_gsp.c below
// src/nvidia/src/kernel/gpu), which the proprietary ones share, and one of the
// kernel's own (drivers/base/firmware_loader/main.c). What an Xid means is from
// NVIDIA's catalog of them (https://docs.nvidia.com/deploy/xid-errors/).
package nvrm
