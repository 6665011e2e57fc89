// A signal at the worst moment: after a server has seen that it may go on, before it waits.
#pragma once

#include <sys/types.h>

/// Lets a process that waits in a system call leave it, holds it at its next call that waits
/// (accept, recv, select, poll, epoll_wait and their variants), on the last instruction before
/// that, and has `signal` delivered there. The process then goes on by itself. Only for a child
/// of the test program, x86-64 and programs of one thread that waits. Throws std::system_error if
/// ptrace(2) fails, std::runtime_error if the process does not wait.
void signal_just_before_waiting(pid_t process, int signal);
