// SPDX-License-Identifier: GPL-2.0
/* Signals that ask a command to end, while it has to undo what it has begun. */
#include <signal.h>

#include "interrupt.h"
#include "ui.h"

static volatile sig_atomic_t pending;

static void on_signal(int signal)
{
	pending = signal;
}

static void handle(void (*handler)(int))
{
	static const int signals[] = { SIGINT, SIGTERM, SIGHUP };
	struct sigaction action = { .sa_handler = handler };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(signals); i++)
		sigaction(signals[i], &action, NULL);
}

void interrupt_catch(void)
{
	handle(on_signal);
}

void interrupt_release(void)
{
	handle(SIG_DFL);
}

bool interrupt_is_pending(void)
{
	return pending;
}
