/* What the stand-ins for NVIDIA's modules have in common. */
#include <linux/cdev.h>
#include <linux/fs.h>
#include <linux/module.h>

#define NVIDIA_MAJOR 195

/* nvidia's: keeps it loaded while others need it. */
void nvidia_standin_needed(void);

MODULE_LICENSE("GPL");
MODULE_VERSION(STANDIN_VERSION);
