/* SPDX-License-Identifier: GPL-2.0 */
/* Layer 0: signals that ask a command to end, while it has to undo what it has begun. */
#ifndef __REUSEPORTCTL_INTERRUPT_H
#define __REUSEPORTCTL_INTERRUPT_H

#include <stdbool.h>

/* From here on SIGINT, SIGTERM and SIGHUP do not end us, but are noted. */
void interrupt_catch(void);
/* They end a process again: us, or a child before its exec. */
void interrupt_release(void);
/* Has one been noted? */
bool interrupt_is_pending(void);

#endif
