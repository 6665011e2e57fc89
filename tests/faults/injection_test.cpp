// Every system call that a stage makes while it serves fails in each way its man page lists and
// that can happen at run time: at the first call, at every third, and at every call for a while.
// The clients of that time may get nothing. The server stays, comes to rest, gives all descriptors
// and threads back, and serves those who come later. The fault comes from strace(1), or where a
// call must be made all the same from faults.cpp.

#include "comparison/comparison.h"
#include "fault_log.h"
#include "harness/assertions.h"
#include "harness/strace.h"
#include "harness/time_limits.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <deque>
#include <mutex>
#include <optional>
#include <set>

namespace {

using Names = std::vector<std::string>;

/// How a call can fail.
struct Call {
    std::string name;        ///< as strace writes it
    std::string stages;      ///< the numbers of those that make it while they serve
    Names errors;            ///< none: it does not fail at run time
    bool by_threads = false; ///< of 03: made once in each client's thread. strace counts by thread,
                             ///< so there is no third call
    std::string companion{}; ///< another fault without which the call is not made
};

/// accept(2): its own, and those that lie in wait on the new connection.
Names errors_of_accept() {
    return {"EAGAIN",      "ECONNABORTED", "EINTR",     "EMFILE",          "ENFILE",
            "ENOBUFS",     "ENOMEM",       "EPERM",     "EPROTO",          "ENETDOWN",
            "ENOPROTOOPT", "EHOSTDOWN",    "ENONET",    "EHOSTUNREACH",    "EOPNOTSUPP",
            "ENETUNREACH", "ENOSR",        "ETIMEDOUT", "ESOCKTNOSUPPORT", "EPROTONOSUPPORT"};
}

/// Of the database, whose errors become a 503 for those who wait, and of the workers.
std::vector<Call> calls_of_storing() {
    return {
        {"fcntl", "8", {}},   // of a lock: see Workers.WaitForAnotherWriterHoldsUpNobodyElse
        {"pread64", "8", {}}, // what it has read before is in memory
        {"pwrite64", "8", {"EINTR", "EIO", "ENOSPC", "EDQUOT", "EFBIG"}, true},
        {"fdatasync", "8", {"EINTR", "EIO", "ENOSPC", "EDQUOT"}, true},
        {"read", "8", {"EINTR"}}, // of the eventfd: its next write wakes the loop again
        {"getsockopt", "8", {}},  // SO_ERROR does not fail on a connection
    };
}

/// Of memory. Where brk() finds none, mmap() is asked, so one alone does no harm: see
/// FailedAllocations, and LimitsOfThreads.ServesOnWhenNoThreadCanBeMade for stacks.
std::vector<Call> calls_of_memory() {
    return {
        {"mmap", "2345678", {}}, {"brk", "2345678", {}},
        {"mprotect", "3", {}},   {"munmap", "3", {}}, // of a whole mapping: does not fail
        {"madvise", "3", {}},                         // advice: what comes of it is not looked at
    };
}

/// accept(2), recv(2), send(2), write(2), … and ip(7), tcp(7): without the errors that say that
/// the program is wrong (EBADF, EFAULT, EINVAL, ENOTSOCK).
std::vector<Call> serving_calls() {
    std::vector<Call> table{
        {"accept4", "2345678", errors_of_accept()},
        {"recvfrom",
         "2345678",
         {"EAGAIN", "EINTR", "ECONNREFUSED", "ECONNRESET", "ENOTCONN", "ETIMEDOUT", "ENOMEM",
          "ENOBUFS", "EHOSTUNREACH", "ENETUNREACH"}},
        {"sendto",
         "2345678",
         {"EAGAIN", "EINTR", "ECONNRESET", "EPIPE", "ENOTCONN", "ETIMEDOUT", "ENOMEM", "ENOBUFS",
          "EACCES", "EPERM", "EHOSTUNREACH", "ENETUNREACH", "ENETDOWN"}},
        {"shutdown", "2345678", {"ENOTCONN", "ENOBUFS"}, true},
        {"write",
         "2345678",
         {"EAGAIN", "EINTR", "EPIPE", "EIO", "ENOSPC", "EDQUOT", "EFBIG", "EPERM"},
         true},
        {"setsockopt", "23678", {"ENOMEM", "ENOBUFS"}},
        {"pselect6", "4", {"EINTR", "ENOMEM"}},
        {"ppoll", "5", {"EINTR", "ENOMEM"}},
        {"epoll_pwait", "678", {"EINTR"}},
        {"epoll_ctl", "678", {}}, // only ADD needs room (epoll_ctl(2)): see FullInterestList
        {"clone3", "3", {"EAGAIN", "ENOMEM"}},
        {"clock_nanosleep", "23", {"EINTR"}, false, "accept4:error=EMFILE:when=1..3"},
        {"ioctl", "2345678", {}},       // SIOCOUTQ (tcp(7)) does not fail on a connection
        {"close", "2345678", {}},       // a close that strace prevents would be a leak: see below
        {"rt_sigpending", "45678", {}}, // fails for a bad address only
        {"rt_sigprocmask", "3", {}},    // the same; around the making of a thread
        {"rt_sigaction", "3", {}},      // the same; when the first thread is made
        {"rseq", "3", {}},              // the C library does without it
        {"set_robust_list", "3", {}},   // not looked at
        {"futex", "38", {}},            // the locks of the C library try again by themselves
    };
    for (const auto& more : {calls_of_storing(), calls_of_memory()})
        table.insert(table.end(), more.begin(), more.end());
    return table;
}

/// Not made each time: memory is asked for when there is none left over, a lock waited for when
/// another has it, what a client has acknowledged when a deadline has passed.
const std::set<std::string> now_and_then{"mmap",  "munmap",       "mprotect", "madvise", "brk",
                                         "futex", "rt_sigaction", "ioctl",    "pread64"};

bool is_made_by(const Call& call, const Stage& stage) {
    return call.stages.find(std::to_string(stage.number)) != std::string::npos;
}

/// Errors that last for one call, and are answered by another: they cannot come for ever. accept()
/// takes a client from the backlog for each error of the network.
bool is_passing(const std::string& error) {
    static const std::set<std::string> passing{
        "EINTR",     "EAGAIN", "ECONNABORTED", "EPROTO",     "ENETDOWN",   "ENOPROTOOPT",
        "EHOSTDOWN", "ENONET", "EHOSTUNREACH", "EOPNOTSUPP", "ENETUNREACH"};
    return passing.contains(error);
}

/// One fault: a call, its error, and when.
struct Fault {
    Call call;
    std::string error;
    std::string when; ///< as strace takes it

    std::string text() const { return call.name + " " + error + " when=" + when; }
    std::string injection() const {
        const char* signal = error == "EPIPE" ? ":signal=SIGPIPE" : ""; // they come together
        return call.name + ":error=" + error + ":when=" + when + signal;
    }
};

std::vector<Fault> faults_of(const Stage& stage) {
    std::vector<Fault> faults;
    for (const Call& call : serving_calls()) {
        if (!is_made_by(call, stage)) continue;
        for (const std::string& error : call.errors) {
            faults.push_back({call, error, "1"});
            if (stage.number != 3 || !call.by_threads) faults.push_back({call, error, "3+3"});
            faults.push_back({call, error, is_passing(error) ? "1..20" : "1+"});
        }
    }
    return faults;
}

constexpr std::uint64_t body_bytes = 300'000; // several times what one send() is given
constexpr auto server_timeout = 100ms;        // as --timeout

std::vector<std::string> arguments_of(const Stage& stage) {
    std::vector<std::string> arguments{"--body-bytes", std::to_string(body_bytes), "--timeout",
                                       seconds_for_option(server_timeout)};
    if (stage.number >= 6) arguments.emplace_back("--tcp-cork");
    return arguments;
}

/// Clients who come all at once: some ask, one asks for too much, one leaves, one resets.
class Visitors {
public:
    explicit Visitors(const Address& server) {
        for (int i = 0; i < 4; ++i) clients_.emplace_back(server).send_what_fits(simple_request);
        clients_.emplace_back(server).send_what_fits(head_of_size(9000));
        HttpClient leaver{server};
        leaver.send_what_fits(half_request);
        leaver.close();
        HttpClient resetter{server};
        resetter.send_what_fits(simple_request);
        resetter.reset();
    }

    /// Receives until each has come to an end, whichever, or `limit` has passed: whether they have.
    /// In the order in which they came, in which 02 serves them.
    bool through(Clock::duration limit) {
        const auto deadline = Clock::now() + limit;
        while (!clients_.empty()) {
            const auto left = std::max<Clock::duration>(deadline - Clock::now(), 1ms);
            if (clients_.front().read_to_end(left).end == End::timeout) return false;
            clients_.pop_front();
        }
        return true;
    }

private:
    std::deque<HttpClient> clients_;
};

/// A server that is used for fault after fault, as long as it lives.
class Victim {
public:
    explicit Victim(const Stage& stage) : server_{stage, arguments_of(stage)} { at_rest(); }
    explicit Victim(const Stage& stage, const SpawnOptions& options)
        : server_{stage, arguments_of(stage), options} {
        at_rest();
    }

    bool running() { return server_.running(); }

    /// What is wrong after clients have come while the fault was there; "" if nothing is.
    std::string survive(const Fault& fault) {
        std::vector<std::string> options{"-e", "inject=" + fault.injection()};
        if (!fault.call.companion.empty())
            options.insert(options.end(), {"-e", "inject=" + fault.call.companion});
        Strace strace{server_.pid(), options};
        const auto start = Clock::now();
        Visitors visitors{server_.address()};
        visitors.through(500ms);
        // The call may come after the clients have all they want, or when more of them have come.
        for (int i = 0; i < 20 && !eventually([&] { return strace.injected() > 0; }, 50ms); ++i)
            Visitors{server_.address()}.through(500ms);
        // At rest: a call whose fault is under way when strace goes would end as ENOSYS.
        server_.settle();
        strace.detach();
        const auto most = 60 + static_cast<std::size_t>((Clock::now() - start) / 10ms);
        const auto injected = strace.injected();
        if (injected == 0) return "the call was not made";
        if (!is_passing(fault.error) && injected > most)
            return "spins: " + counted(injected, "call");
        return whats_wrong(visitors);
    }

    /// The same of a server that was started with so many faults, which `log` tells of.
    std::string survive(const FaultLog& log, std::size_t faults) {
        const auto all_struck = [&] { return log.struck().size() >= faults; };
        Visitors visitors{server_.address()};
        visitors.through(500ms);
        for (int i = 0; i < 20 && !all_struck(); ++i) Visitors{server_.address()}.through(500ms);
        return all_struck() ? whats_wrong(visitors) : "the call was not made";
    }

private:
    void at_rest() {
        server_.settle();
        descriptors_ = server_.descriptors();
        threads_ = server_.threads();
    }

    /// What a client gets who asks in good time. One whom the machine held up between connect() and
    /// send() may rightly get a 408, though not wait for ever: then another one asks.
    Reply prompt_reply() const {
        for (int i = 0; i < 100; ++i) {
            const auto start = Clock::now();
            HttpClient client{server_.address()};
            client.send_what_fits(simple_request);
            const bool prompt = Clock::now() - start < server_timeout / 2;
            Reply reply = client.read_to_end();
            if (prompt || reply.end == End::timeout) return reply;
        }
        throw std::runtime_error("no client could ask in good time");
    }

    std::string whats_wrong(Visitors& visitors) {
        for (int i = 0; i < 2; ++i) {
            if (!server_.running()) return "the server has ended: " + server_.err();
            const Reply reply = prompt_reply();
            if (reply.bytes != expected_response(body_bytes) || reply.end != End::eof)
                return "a later client got: " + reply.summary();
        }
        // After the later ones: where accept() fails with EAGAIN though a client waits, stage 07
        // has been told of that client once, and hears of it again with the next.
        if (!visitors.through(patience)) return "a client hangs";
        if (!eventually([this] { return server_.descriptors() == descriptors_; }))
            return "leaks: " + counted(server_.descriptors(), "descriptor");
        if (!eventually([this] { return server_.threads() == threads_; }))
            return "leaks: " + counted(server_.threads(), "thread");
        return server_.settle() ? "" : "does not come to rest";
    }

    StageProcess server_;
    std::size_t descriptors_ = 0;
    std::size_t threads_ = 0;
};

/// Runs `one` for each number below `count`, a few at a time, as each mostly waits. `one` belongs
/// to a worker, which `make_worker` makes.
template <typename MakeWorker> void share_out(std::size_t count, MakeWorker make_worker) {
    std::atomic<std::size_t> next{0};
    std::vector<std::jthread> threads;
    for (int i = 0; i < 8; ++i)
        threads.emplace_back([&] {
            auto worker = make_worker();
            for (std::size_t each = next++; each < count; each = next++) worker(each);
        });
}

/// What went wrong, from several threads.
class Failures {
public:
    void add(const std::string& what) {
        const std::lock_guard lock(mutex_);
        texts_.push_back(what);
    }
    std::size_t count() const { return texts_.size(); }
    std::string text() const {
        std::string all;
        for (const std::string& each : texts_) all += each + '\n';
        return all;
    }

private:
    std::mutex mutex_;
    std::vector<std::string> texts_;
};

std::string attempt(const std::function<std::string()>& what) {
    try {
        return what();
    } catch (const std::exception& error) {
        return error.what();
    }
}

class InjectionComparison : public StageTest {};

INSTANTIATE_TEST_SUITE_P(, InjectionComparison, testing::ValuesIn(serving_stages()), stage_name);

TEST_P(InjectionComparison, Survived) {
    if (!tracing_is_permitted()) GTEST_SKIP() << "no process may trace another here (ptrace(2))";
    const auto faults = faults_of(stage());
    Failures failures;
    share_out(faults.size(), [&] {
        return [&, victim = std::unique_ptr<Victim>{}](std::size_t number) mutable {
            const Fault& fault = faults[number];
            if (!victim || !victim->running()) victim = std::make_unique<Victim>(stage());
            const auto wrong = attempt([&] { return victim->survive(fault); });
            if (wrong.empty()) return;
            failures.add(fault.text() + ": " + wrong);
            victim.reset();
        };
    });
    const auto all = std::to_string(faults.size());
    observe("sends a request after system calls of the server have failed: faults survived",
            std::to_string(faults.size() - failures.count()) + " of " + all);
    EXPECT_EQ(failures.count(), 0U) << failures.text();
}

class InjectionWhileServing : public StageTest {
protected:
    struct Plan {
        std::string text;       ///< as faults.cpp takes it
        std::size_t faults = 1; ///< that must have struck, at least
    };

    /// A server for each plan.
    static void expect_survival(const std::vector<Plan>& plans) {
        Failures failures;
        share_out(plans.size(), [&] {
            return [&](std::size_t number) {
                const Plan& plan = plans[number];
                const FaultLog log;
                const auto wrong = attempt([&] {
                    return Victim{stage(), log.options(plan.text)}.survive(log, plan.faults);
                });
                if (!wrong.empty()) failures.add(plan.text + ": " + wrong);
            };
        });
        EXPECT_EQ(failures.count(), 0U) << failures.text();
    }

    static std::string repeated(const std::string& text, int times) {
        std::string all;
        for (int i = 0; i < times; ++i) all += text;
        return all;
    }
};

INSTANTIATE_TEST_SUITE_P(, InjectionWhileServing, testing::ValuesIn(serving_stages()), stage_name);

// Linux has freed the descriptor by the time close() fails (close(2)). Short reads and writes are
// no faults at all, but what a program must expect of every call.
TEST_P(InjectionWhileServing, FailedClosesAndShortCalls) {
    std::vector<Plan> plans;
    // 70 bytes: more than the line that says where the stage listens, less than a request.
    for (const std::string fault : {"close=4", "close=5", "recv=-1", "send=-1000", "write=-70"}) {
        const auto number = fault.substr(fault.find('=') + 1);
        const auto name = fault.substr(0, fault.find('=') + 1);
        plans.insert(plans.end(), {{name + number + '!'}, {name + "0,0," + number}, {fault}});
    }
    expect_survival(plans);
}

// malloc() that finds no memory, with brk() as little as with mmap() (ENOMEM): of the allocations
// that are made for a few clients each fails once; then every third of them; then all for a while.
// 12 is ENOMEM.
TEST_P(InjectionWhileServing, FailedAllocations) {
    const FaultLog log;
    Victim unharmed{stage(), log.options("new=-1")}; // just noted
    ASSERT_EQ(unharmed.survive(log, 20), "");
    const auto count = log.struck().size();
    std::vector<Plan> plans;
    std::string before;
    for (std::size_t i = 0; i < count; ++i, before += "0,")
        plans.push_back({"new=" + before + "12!"});
    plans.push_back({"new=" + repeated("0,0,12,", 20) + "0!", 20});
    plans.push_back({"new=" + repeated("12,", 20) + "0!", 20});
    expect_survival(plans);
}

// The kernel's list takes no further descriptor (epoll_ctl(2): ENOMEM, ENOSPC): the first time,
// every third time, and for a while. The first are the listener, and what wakes the loop: in
// set-up.
TEST_P(InjectionWhileServing, FullInterestList) {
    if (stage().number < 6) return;
    const std::string set_up = stage().profile.keeps_requests ? "epoll_add=0,0," : "epoll_add=0,";
    std::vector<Plan> plans;
    for (const std::string error : {"12", "28"}) {
        plans.push_back({set_up + error + '!'});
        plans.push_back({set_up + repeated("0,0," + error + ',', 20) + "0!", 20});
        plans.push_back({set_up + repeated(error + ',', 20) + "0!", 20});
    }
    expect_survival(plans);
}

// What the stage calls, and nothing else, is in the table.
TEST_P(InjectionWhileServing, TableIsComplete) {
    if (!tracing_is_permitted()) GTEST_SKIP() << "no process may trace another here (ptrace(2))";
    std::set<std::string> made;
    StageProcess server{stage(), arguments_of(stage())};
    for (const std::string with : {"-c", "--inject=accept4:error=EMFILE:when=1..3"}) {
        Strace strace{server.pid(), {"-c", with}};
        Visitors visitors{server.address()};
        EXPECT_TRUE(visitors.through(patience));
        EXPECT_TRUE(server.settle());
        strace.detach();
        for (const std::string& call : calls_counted(strace.log())) made.insert(call);
    }
    for (const Call& call : serving_calls()) {
        const bool was_made = made.erase(call.name) > 0;
        if (now_and_then.contains(call.name)) continue;
        EXPECT_EQ(was_made, is_made_by(call, stage())) << call.name;
    }
    EXPECT_TRUE(made.empty()) << "not in the table: " << *made.begin();
}

class InjectionInSetUp : public StageTest {};

INSTANTIATE_TEST_SUITE_P(, InjectionInSetUp, testing::ValuesIn(all_stages()), stage_name);

// Memory that is missing before the first accept4(): one line and 1, whichever allocation it is.
TEST_P(InjectionInSetUp, NoMemoryIsAClearError) {
    const FaultLog log;
    StageProcess unharmed{stage(), {}, log.options("early=-1")}; // just noted
    ASSERT_TRUE(unharmed.settle());
    const auto count = log.struck().size();
    ASSERT_GT(count, 20U);
    Failures failures;
    share_out(count, [&] {
        return [&](std::size_t number) {
            std::string plan = "early=";
            for (std::size_t i = 0; i < number; ++i) plan += "0,";
            const FaultLog own;
            const TemporaryFolder folder;
            SpawnOptions options = own.options(plan + "12!");
            options.folder = folder.path();
            ChildProcess server{stage_command(stage(), {}), options};
            const auto said = [&](const std::string& text) {
                return server.err().find(stage().name + ": " + text) != std::string::npos;
            };
            // Some are not fatal: a library has done without.
            eventually([&] { return said("listening on") || !server.running(); });
            if (server.running() && said("listening on")) return;
            if (server.wait_exit() == 1 && said("out of memory\n")) return;
            failures.add(std::to_string(number) + ": " + server.err());
        };
    });
    EXPECT_EQ(failures.count(), 0U) << "of " << count << ":\n" << failures.text();
}

// Without its listener there is no server: one line that names the call and the reason, and 1.
TEST_P(InjectionInSetUp, EndWithAClearError) {
    if (!tracing_is_permitted()) GTEST_SKIP() << "no process may trace another here (ptrace(2))";
    std::vector<std::pair<std::string, Names>> calls{
        {"socket", {"EACCES", "EAFNOSUPPORT", "EMFILE", "ENFILE", "ENOBUFS", "ENOMEM", "EPERM"}},
        {"setsockopt", {"ENOMEM", "ENOBUFS", "ENOPROTOOPT", "EPERM"}},
        {"bind", {"EACCES", "EADDRINUSE", "EADDRNOTAVAIL", "ENOMEM", "ENOBUFS", "EPERM"}},
        {"listen", {"EADDRINUSE", "ENOBUFS", "EPERM"}},
        {"getsockname", {"ENOBUFS"}}};
    if (stage().number >= 6) {
        calls.push_back({"epoll_create1", {"EMFILE", "ENFILE", "ENOMEM"}});
        calls.push_back({"epoll_ctl", {"ENOMEM", "ENOSPC"}});
    }
    for (const auto& [call, errors] : calls) {
        for (const std::string& error : errors) {
            SCOPED_TRACE(call + " " + error);
            std::vector<std::string> command{"strace", "-o", "/dev/null", "-e",
                                             "inject=" + call + ":error=" + error + ":when=1"};
            const auto words = stage_command(stage(), {});
            command.insert(command.end(), words.begin(), words.end());
            const TemporaryFolder folder;
            const Finished finished = run_command(command, {.folder = folder.path()});
            EXPECT_EQ(finished.exit_code, 1) << finished.err;
            const auto lines = lines_of(finished.err);
            ASSERT_FALSE(lines.empty());
            EXPECT_TRUE(lines.back().starts_with(stage().name + ": " + call)) << finished.err;
        }
    }
}

} // namespace
