#ifdef __x86_64__ // registers and the length of the system call's instruction are its own

#include "signal_race.h"

#include "harness/support.h"

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdint>
#include <stdexcept>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>

namespace {

constexpr std::array<std::uint64_t, 10> waiting_calls{
    SYS_accept, SYS_accept4, SYS_recvfrom,   SYS_select,      SYS_pselect6,
    SYS_poll,   SYS_ppoll,   SYS_epoll_wait, SYS_epoll_pwait, SYS_epoll_pwait2};

constexpr std::uint64_t instruction_bytes = 2; // of `syscall`

/// A process under ptrace(2); let go of at the end, whatever happens.
class Traced {
public:
    explicit Traced(pid_t process) : process_{process} {
        request(PTRACE_SEIZE, PTRACE_O_TRACESYSGOOD);
        request(PTRACE_INTERRUPT, 0);
        await_stop();
    }
    Traced(const Traced&) = delete;
    Traced& operator=(const Traced&) = delete;
    ~Traced() { ptrace(PTRACE_DETACH, process_, nullptr, nullptr); }

    /// Runs until the next beginning or end of a system call.
    void run_to_system_call() {
        do {
            request(PTRACE_SYSCALL, 0);
        } while (await_stop() != (SIGTRAP | 0x80)); // as PTRACE_O_TRACESYSGOOD marks it
    }

    user_regs_struct registers() {
        user_regs_struct values{};
        checked(static_cast<int>(ptrace(PTRACE_GETREGS, process_, nullptr, &values)), "GETREGS");
        return values;
    }

    void set_registers(user_regs_struct values) {
        checked(static_cast<int>(ptrace(PTRACE_SETREGS, process_, nullptr, &values)), "SETREGS");
    }

private:
    void request(__ptrace_request what, std::uintptr_t data) {
        const auto result = ptrace(what, process_, nullptr, data);
        checked(static_cast<int>(result), "ptrace");
    }

    int await_stop() {
        int status = 0;
        checked(waitpid(process_, &status, __WALL), "waitpid");
        if (!WIFSTOPPED(status)) throw std::runtime_error("the traced process has ended");
        return WSTOPSIG(status);
    }

    pid_t process_;
};

/// Whether the process is about to enter one of waiting_calls: at the beginning of a system call
/// the kernel has put -ENOSYS where the result will be.
bool enters_wait(const user_regs_struct& registers) {
    const bool waits = std::find(waiting_calls.begin(), waiting_calls.end(), registers.orig_rax) !=
                       waiting_calls.end();
    return waits && registers.rax == static_cast<std::uint64_t>(-ENOSYS);
}

} // namespace

void signal_just_before_waiting(pid_t process, int signal) {
    Traced traced{process};
    for (int i = 0; i < 1000; ++i) {
        traced.run_to_system_call();
        const auto at_call = traced.registers();
        if (!enters_wait(at_call)) continue;
        auto skipped = at_call;
        skipped.orig_rax = static_cast<std::uint64_t>(-1); // no such call: the kernel does nothing
        traced.set_registers(skipped);
        traced.run_to_system_call(); // the end of that
        auto before = at_call;       // and back onto the instruction that makes the call
        before.rip -= instruction_bytes;
        before.rax = at_call.orig_rax;
        before.orig_rax = static_cast<std::uint64_t>(-1);
        traced.set_registers(before);
        checked(kill(process, signal), "kill");
        return;
    }
    throw std::runtime_error("the process does not wait");
}

#endif
