/*
 * Stands in for nvidia.ko, which leaves again where there is no GPU: exports
 * what that does, so that the modules which need it can be loaded. exports.h
 * is generated from the nvidia.ko in question.
 */
#include <linux/module.h>
#include "nv-modeset-interface.h"

static long answer(void) { return 0; }

/* Success, whatever is asked; and no GPUs where they are counted. */
#define ANSWER(name, export) \
	long name(void); \
	long name(void) { return 0; } \
	export(name)

/* The one export that nvidia-modeset wants an answer from: all that follows
 * system_info are functions. */
NV_STATUS nvidia_get_rm_ops(nvidia_modeset_rm_ops_t *ops)
{
	void **function;

	for (function = (void **)&ops->alloc_stack; function < (void **)(ops + 1); function++)
		*function = answer;
	return NV_OK;
}

#include "exports.h"
