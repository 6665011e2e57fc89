// Requests that are stored before they are answered: what is answered is in the file, whatever
// happens to the program; and whoever need not wait for the disk does not wait.

#include "faults/fault_log.h"
#include "harness/assertions.h"
#include "harness/strace.h"
#include "harness/time_limits.h"

#include <algorithm>
#include <csignal>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <set>
#include <string>
#include <vector>

namespace {

/// Runs a program in Python that has opened the database as `db`, and returns what it prints.
std::string ask(const std::filesystem::path& database, const std::string& program) {
    const Finished python = run_command(
        {"python3", "-c",
         "import sqlite3, sys; db = sqlite3.connect(sys.argv[1], isolation_level=None)\n" + program,
         database});
    EXPECT_EQ(python.exit_code, 0) << python.err;
    return python.out;
}

/// The first lines of the requests that are in the database.
std::set<std::string> stored(const std::filesystem::path& database) {
    const auto lines =
        lines_of(ask(database, "for head, in db.execute('SELECT head FROM requests'):\n"
                               "    print(head.decode().split('\\r\\n')[0])"));
    return {lines.begin(), lines.end()};
}

class Workers : public StageTest {};

INSTANTIATE_TEST_SUITE_P(, Workers, testing::ValuesIn(storing_stages()), stage_name);

TEST_P(Workers, StoresTheWholeHead) {
    StageProcess server{stage()};
    const std::string head = "GET /\x01\xff HTTP/1.0\r\nHost: localhost\r\n\r\n";
    expect_hello(fetch(server.address(), head + "and what follows is no part of it"));
    EXPECT_EQ(ask(server.folder() / "requests.db",
                  "print([each[0] for each in db.execute('SELECT head FROM requests')])"),
              "[b'GET /\\x01\\xff HTTP/1.0\\r\\nHost: localhost\\r\\n\\r\\n']\n");
}

/// Clients that ask one server, twenty at a time, each for something else.
class Askers {
public:
    /// Asks until so many more have been answered; what they asked for goes to `answered`.
    void ask(const StageProcess& server, std::size_t more, std::set<std::string>& answered) {
        const auto enough = answered.size() + more;
        while (answered.size() < enough) {
            while (clients_.size() < 20) {
                const auto line = "GET /" + std::to_string(++asked_) + " HTTP/1.0";
                clients_.emplace_back(line, std::make_unique<HttpClient>(server.address()));
                clients_.back().second->send(line + "\r\n\r\n");
            }
            ASSERT_TRUE(eventually([&] { return collect(answered, false) > 0; }));
        }
    }

    /// The server has ended: the last answers may be here, and not read yet.
    void end(std::set<std::string>& answered) { collect(answered, true); }

    std::size_t asked() const { return asked_; }

private:
    /// Reads the answers that are here, or all; their number.
    std::size_t collect(std::set<std::string>& answered, bool all) {
        return std::erase_if(clients_, [&](auto& each) {
            if (!all && !each.second->readable()) return false;
            if (each.second->read_to_end().status() == 200) answered.insert(each.first);
            return true;
        });
    }

    std::vector<std::pair<std::string, std::unique_ptr<HttpClient>>> clients_;
    std::size_t asked_ = 0;
};

// Each round kills the server after another number of answers, while more requests are on their
// way. Then the next server goes on with the same file.
TEST_P(Workers, WhatIsAnsweredIsInTheFileAfterAKill) {
    constexpr std::size_t rounds = 50;
    const TemporaryFolder folder;
    const auto database = folder.path() / "requests.db";
    std::set<std::string> answered;
    Askers askers;
    for (std::size_t round = 0; round < rounds; ++round) {
        StageProcess server{stage(), {"--quiet", "--database", database}};
        askers.ask(server, 1 + round * 37 % 60, answered);
        server.send_signal(SIGKILL);
        ASSERT_EQ(server.ending(), "SIGKILL");
        askers.end(answered);
    }
    const auto found = stored(database);
    for (const auto& line : answered) ASSERT_TRUE(found.contains(line)) << line;
    EXPECT_GE(answered.size(), rounds);
    EXPECT_LE(found.size(), askers.asked());
}

TEST_P(Workers, BadDatabaseIsAClearError) {
    for (const std::string name : {"", ":memory:"}) {
        const auto refused = run_stage(stage(), {"--database", name});
        EXPECT_NE(refused.exit_code, 0) << name;
        EXPECT_NE(refused.err.find("'" + name + "' is not the name of a file"), std::string::npos)
            << refused.err;
    }
    const auto missing = run_stage(stage(), {"--port", "0", "--database", "/nowhere/requests.db"});
    EXPECT_EQ(missing.exit_code, 1);
    EXPECT_EQ(missing.err, stage().name + ": database: open /nowhere/requests.db: "
                                          "unable to open database file\n");
    for (const std::string option : {"--workers", "--queue"}) {
        const auto refused = run_stage(stage(), {option, "1000001"});
        EXPECT_NE(refused.exit_code, 0);
        EXPECT_NE(refused.err.find("1000001 not in range"), std::string::npos) << refused.err;
    }
}

// The file may grow no further: the clients are told, and the server goes on.
TEST_P(Workers, FullDatabaseIsNotTheEnd) {
    StageProcess server{stage(), {"--quiet"}, {.file_size_limit = 100'000}};
    const auto request = head_of_size(8000);
    Reply reply = fetch(server.address(), request);
    for (int i = 0; i < 100 && reply.status() == 200; ++i) reply = fetch(server.address(), request);
    expect_error(reply, "503 Service Unavailable");
    expect_error(fetch(server.address(), request), "503 Service Unavailable");
    ASSERT_FALSE(server.complaints().empty());
    EXPECT_TRUE(server.complaints().front().starts_with(stage().name + ": database: "))
        << server.err();
    expect_error(fetch(server.address(), head_of_size(8193)),
                 "431 Request Header Fields Too Large");
}

/// Another program that has begun to write to a database, and does not go on.
class OtherWriter {
public:
    explicit OtherWriter(const std::filesystem::path& database)
        : child_{{"python3", "-uc",
                  "import sqlite3, sys, time; db = sqlite3.connect(sys.argv[1], "
                  "isolation_level=None)\ndb.execute('BEGIN IMMEDIATE'); print('now')\n"
                  "time.sleep(1000)",
                  database},
                 {}} {
        EXPECT_TRUE(eventually([&] { return child_.out() == "now\n"; })) << child_.err();
    }

    void end() {
        child_.send_signal(SIGKILL);
        EXPECT_TRUE(child_.wait_exit());
    }

private:
    ChildProcess child_;
};

TEST_P(Workers, WaitForAnotherWriterHoldsUpNobodyElse) {
    StageProcess server{stage(), {"--quiet"}};
    OtherWriter writer{server.folder() / "requests.db"};
    HttpClient waiting{server.address()};
    waiting.send(simple_request);
    ASSERT_TRUE(waiting.await_all_read(server.address()));
    expect_error(fetch(server.address(), head_of_size(8193)),
                 "431 Request Header Fields Too Large");
    EXPECT_FALSE(waiting.readable());
    writer.end();
    expect_hello(waiting.read_to_end());
}

TEST_P(Workers, SignalIsHeardBesideAnotherWriter) {
    std::unique_ptr<OtherWriter> writer;
    std::unique_ptr<HttpClient> waiting;
    expect_prompt_end(stage(), {"--quiet"}, SIGTERM, [&](StageProcess& server) {
        writer = std::make_unique<OtherWriter>(server.folder() / "requests.db");
        waiting = std::make_unique<HttpClient>(server.address());
        waiting->send(simple_request);
        EXPECT_TRUE(waiting->await_all_read(server.address()));
    });
}

/// The signals that a thread of a process blocks: bit 0 is for number 1 (SigBlk of proc(5)).
std::uint64_t blocked_signals(const std::filesystem::path& thread) {
    for (const auto& line : lines_of(read_file(thread / "status")))
        if (line.starts_with("SigBlk:")) return std::stoull(line.substr(7), nullptr, 16);
    ADD_FAILURE() << "no SigBlk in the status of " << thread;
    return 0;
}

// A signal that a worker took would not end the wait of the loop.
TEST_P(Workers, SignalsAreNotForThem) {
    StageProcess server{stage(), {"--quiet", "--workers", "3"}};
    ASSERT_TRUE(server.settle());
    const auto pid = std::to_string(server.pid());
    std::size_t workers = 0;
    for (const auto& thread : std::filesystem::directory_iterator("/proc/" + pid + "/task")) {
        if (thread.path().filename() == pid) continue;
        ++workers;
        for (const int signal : {SIGINT, SIGTERM})
            EXPECT_NE(blocked_signals(thread.path()) & (1ULL << (signal - 1)), 0U) << signal;
    }
    EXPECT_GE(workers, 3U); // a sanitizer has a thread of its own
}

// The one test in which several workers want to write at the same time.
TEST_P(Workers, SeveralStoreEachRequestOnce) {
    StageProcess server{stage(), {"--quiet", "--workers", "4"}};
    for (int round = 0; round < 10; ++round) {
        auto clients = clients_that_sent(server.address(), 50, simple_request);
        EXPECT_EQ(count_answers(clients, 200), 50U);
    }
    EXPECT_EQ(ask(server.folder() / "requests.db",
                  "print(*db.execute('SELECT COUNT(*) FROM requests').fetchone())"),
              "500\n");
}

/// A disk that a test can stop.
class WorkersAndTheDisk : public StageTest {
protected:
    ~WorkersAndTheDisk() override { disk.release(); }

    /// A client whose request is being stored when this returns.
    HttpClient first_client(const StageProcess& server) const {
        disk.hold();
        HttpClient client{server.address()};
        client.send(simple_request);
        EXPECT_TRUE(disk.await_use());
        return client;
    }

    HeldDisk disk;
};

INSTANTIATE_TEST_SUITE_P(, WorkersAndTheDisk, testing::ValuesIn(storing_stages()), stage_name);

TEST_P(WorkersAndTheDisk, AnswerComesAfterTheDisk) {
    StageProcess server{
        stage(), {"--quiet", "--timeout", seconds_for_option(50ms)}, disk.options()};
    HttpClient client = first_client(server);
    std::this_thread::sleep_for(scaled(200ms)); // four timeouts: the disk is late, not the client
    EXPECT_FALSE(client.readable());
    disk.release();
    expect_hello(client.read_to_end());
}

// 101 requests, and 2 commits.
TEST_P(WorkersAndTheDisk, ManyRequestsShareACommit) {
    StageProcess server{stage(), {"--quiet"}, disk.options("fdatasync=-1;fsync=-1")};
    const auto in_set_up = disk.noted();
    HttpClient first = first_client(server);
    auto others = clients_that_sent(server.address(), 100, simple_request);
    for (const auto& client : others) ASSERT_TRUE(client.await_all_read(server.address()));
    disk.release();
    expect_hello(first.read_to_end());
    EXPECT_EQ(count_answers(others, 200), others.size());
    const auto synced = disk.noted() - in_set_up;
    EXPECT_GE(synced, 2U);
    EXPECT_LE(synced, 6U);
}

// With a worker, only those wait for the disk whose requests are to be stored. Without one, the
// event loop waits itself, and so does everybody.
TEST_P(WorkersAndTheDisk, WorkersKeepTheLoopFree) {
    for (const bool has_workers : {true, false}) {
        SCOPED_TRACE(has_workers);
        StageProcess server{
            stage(), {"--quiet", "--workers", has_workers ? "1" : "0"}, disk.options()};
        HttpClient first = first_client(server);
        HttpClient second{server.address()}; // with a worker, its request gets into the queue
        second.send(simple_request);
        if (has_workers) {
            ASSERT_TRUE(second.await_all_read(server.address()));
        }
        HttpClient other{server.address()};
        other.send(head_of_size(8193));
        if (has_workers) {
            expect_error(other.read_to_end(), "431 Request Header Fields Too Large");
        } else {
            ASSERT_TRUE(server.settle()); // nobody goes on
            EXPECT_FALSE(other.readable());
        }
        EXPECT_FALSE(first.readable());
        disk.release();
        expect_hello(first.read_to_end());
        expect_hello(second.read_to_end());
    }
}

// The next client gets the descriptor of one who has left, but not the answer.
TEST_P(WorkersAndTheDisk, AnswerIsForNoneButItsClient) {
    StageProcess server{stage(), {"--quiet"}, disk.options()};
    HttpClient first = first_client(server);
    const auto before = server.descriptors();
    first.reset();
    ASSERT_TRUE(eventually([&] { return server.descriptors() < before; }));
    HttpClient next{server.address()};
    next.send(half_request);
    ASSERT_TRUE(next.await_all_read(server.address()));
    disk.release();
    ASSERT_TRUE(server.settle()); // the first request is stored, and the loop knows it
    disk.hold();
    next.send(other_half);
    ASSERT_TRUE(disk.await_use());
    EXPECT_FALSE(answered_before_rest(next, server)); // its own request is not stored yet
    disk.release();
    expect_hello(next.read_to_end());
}

// The loop takes a second to read the eventfd, and meanwhile the worker finishes another job. (The
// worker itself does not call read(2): SQLite uses pread(2).)
TEST_P(WorkersAndTheDisk, NoWakeUpIsLost) {
    if (!tracing_is_permitted()) GTEST_SKIP() << "no process may trace another here (ptrace(2))";
    StageProcess server{stage(), {"--quiet"}, disk.options()};
    HttpClient first = first_client(server);
    HttpClient second{server.address()};
    second.send(simple_request);
    ASSERT_TRUE(second.await_all_read(server.address()));
    const Strace slow{server.pid(), {"-e", "trace=read", "-e", "inject=read:delay_enter=1s"}};
    disk.release();
    expect_hello(first.read_to_end());
    expect_hello(second.read_to_end());
}

// A commit that has begun is finished. Nobody can hurry the disk, but what waits is not begun.
TEST_P(WorkersAndTheDisk, SignalWaitsForNoMoreThanTheCommit) {
    StageProcess server{stage(), {"--quiet"}, disk.options()};
    HttpClient first = first_client(server);
    HttpClient second{server.address()};
    second.send(simple_request);
    ASSERT_TRUE(second.await_all_read(server.address()));
    server.send_signal(SIGTERM);
    EXPECT_EQ(second.read_to_end().summary(), "closed"); // the loop has ended
    EXPECT_TRUE(server.running());
    disk.release();
    EXPECT_EQ(server.exit_code(), 0);
    EXPECT_EQ(ask(server.folder() / "requests.db",
                  "print(*db.execute('SELECT COUNT(*) FROM requests').fetchone())"),
              "1\n");
}

// A disk that fails, once: its clients are told. What comes next is stored.
TEST_P(WorkersAndTheDisk, FailureIsTold) {
    StageProcess unharmed{stage(), {"--quiet"}, disk.options("fdatasync=-1")};
    std::string plan = "fdatasync=";
    for (std::size_t i = 0; i < disk.noted(); ++i) plan += "0,";
    const HeldDisk failing;
    StageProcess server{stage(), {"--quiet"}, failing.options(plan + "5!")}; // EIO
    expect_error(fetch(server.address()), "503 Service Unavailable");
    expect_hello(fetch(server.address()));
    EXPECT_EQ(server.complaints().size(), 1U) << server.err();
}

} // namespace
