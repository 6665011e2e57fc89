// Random clients, against the stages that serve many at once, 03 to 07: each script of connecting,
// sending in pieces, pausing, half-closing, reading a little, leaving runs against all five at the
// same time, and each must send what the model in script.h says, byte for byte.
//
//   client_fuzzer                                15 seconds, from a random seed, which it prints
//   client_fuzzer --scripts 100000               until there have been so many
//   client_fuzzer --seed 1 --script 23           one script of that seed, once
//   client_fuzzer --seed 1 --script 23 --seconds 10    and again and again
//
// It runs the stages of the build it belongs to, or those in the folder STAGE_BINARIES.

#include "harness/http_client.h"
#include "harness/time_limits.h"
#include "runner.h"

#include <CLI/CLI.hpp>
#include <gtest/gtest.h>
#include <iostream>
#include <mutex>
#include <optional>
#include <random>

namespace {

constexpr int threads = 16;          // scripts at a time: most of them wait most of the time
constexpr std::uint64_t many = 1000; // scripts, after which no outcome is missing by chance

struct Options {
    std::uint64_t seed = (std::uint64_t{std::random_device{}()} << 32U) | std::random_device{}();
    std::uint64_t scripts = UINT64_MAX;
    std::optional<std::uint64_t> script{}; // just this one
    double seconds = 0;                    // 0: no limit
} wanted;

/// One server of each stage, with these options.
Fleet start_fleet(std::uint64_t body_bytes, std::chrono::milliseconds timeout) {
    Fleet fleet{{}, {}, Answers{body_bytes}, timeout * slowdown()};
    SpawnOptions spawn;
    spawn.out = Stream::null; // printed, and so escaped, but not kept
    for (const Stage& stage : concurrent_stages()) {
        const std::vector<std::string> arguments{"--body-bytes", std::to_string(body_bytes),
                                                 "--timeout", seconds_for_option(timeout)};
        fleet.servers.push_back(std::make_unique<StageProcess>(stage, arguments, spawn));
        fleet.names.push_back(stage.name);
    }
    return fleet;
}

/// How many descriptors and threads a server has when it has nothing to do.
struct Holdings {
    std::size_t descriptors;
    std::size_t threads;

    bool operator==(const Holdings&) const = default;
};

std::ostream& operator<<(std::ostream& out, const Holdings& holdings) {
    return out << counted(holdings.descriptors, "descriptor") << " and "
               << counted(holdings.threads, "thread");
}

Holdings holdings_of(const StageProcess& server) {
    return {server.descriptors(), server.threads()};
}

class ClientFuzzer : public testing::Test {
protected:
    ClientFuzzer() {
        // Only the deadline of the silent ones shall ever pass, on however busy a machine.
        fleets_.push_back(start_fleet(13, 1h));
        fleets_.push_back(start_fleet(300'000, 1h));
        fleets_.push_back(start_fleet(13, 200ms));
        for (const Fleet& fleet : fleets_) {
            for (const auto& server : fleet.servers) {
                fetch(server->address()); // whatever it opens with its first client stays open
                server->settle();
                at_first_.push_back(holdings_of(*server));
            }
        }
    }

    /// Runs scripts until enough of them have been, or time is over, or one has failed.
    void run_all() {
        const auto start = Clock::now();
        if (wanted.seconds > 0)
            end_ = start + std::chrono::round<Clock::duration>(
                               std::chrono::duration<double>(wanted.seconds));
        std::vector<std::thread> workers;
        for (int i = 0; i < threads; ++i) workers.emplace_back([this] { work(); });
        for (auto& worker : workers) worker.join();
        seconds_ = std::chrono::duration<double>(Clock::now() - start).count();
    }

    /// Every server is as it was before, apart from the clients it has served.
    void expect_untouched() {
        auto before = at_first_.begin();
        for (const Fleet& fleet : fleets_) {
            for (std::size_t i = 0; i < fleet.servers.size(); ++i, ++before) {
                StageProcess& server = *fleet.servers[i];
                SCOPED_TRACE(fleet.names[i]);
                ASSERT_TRUE(server.running()) << "it has ended: " << server.err();
                EXPECT_TRUE(eventually([&] { return holdings_of(server) == *before; }))
                    << "before: " << *before << ", after: " << holdings_of(server);
                EXPECT_EQ(fetch(server.address()).bytes, fleet.answers.hello);
                EXPECT_TRUE(server.complaints().empty()) << server.err();
            }
        }
    }

    void print_summary() const {
        static constexpr std::array names{"200", "431", "408", "nothing", "cut short"};
        std::cout << "seed " << wanted.seed << ": " << tally_.scripts << " scripts, "
                  << tally_.connections << " connections, " << tally_.received
                  << " bytes received in " << seconds_ << " s; ";
        for (std::size_t i = 0; i < names.size(); ++i)
            std::cout << names.at(i) << ": " << tally_.outcomes.at(i) << ", ";
        std::cout << "owed a prefix only: " << tally_.unsure << std::endl;
    }

    void expect_every_outcome() const {
        if (tally_.scripts < many || wanted.script) return;
        for (const auto& count : tally_.outcomes) EXPECT_GT(count, 0U) << "see the line above";
    }

private:
    void work() {
        while (!tally_.failed && Clock::now() < end_) {
            auto number = next_++;
            if (number >= wanted.scripts) return;
            if (wanted.script) number = *wanted.script;
            const Script script = make_script(wanted.seed, number);
            try {
                run_script(script, fleets_[static_cast<std::size_t>(script.kind)], tally_);
            } catch (const std::exception& error) {
                report(script, number, error.what());
            }
        }
    }

    /// The first failure counts; others that follow from it would hide it.
    void report(const Script& script, std::uint64_t number, const std::string& what) {
        const std::lock_guard lock(reporting_);
        if (tally_.failed.exchange(true)) return;
        ADD_FAILURE() << "script " << number << " of seed " << wanted.seed << ": " << what << '\n'
                      << describe(script) << "to repeat it: client_fuzzer --seed " << wanted.seed
                      << " --script " << number << " (--seconds 10: again and again)";
    }

    std::vector<Fleet> fleets_; // by Kind
    std::vector<Holdings> at_first_;
    Tally tally_;
    double seconds_ = 0;
    Clock::time_point end_ = Clock::time_point::max();
    std::atomic<std::uint64_t> next_{0};
    std::mutex reporting_;
};

TEST_F(ClientFuzzer, EveryStageSaysWhatTheModelSays) {
    std::cout << "seed " << wanted.seed << std::endl; // at once: it may be killed
    run_all();
    print_summary();
    if (HasFailure()) return; // of clients that were given up in the middle of something
    expect_untouched();
    expect_every_outcome();
}

/// A check for CLI11, which takes "-1" as a very large number, and "nan" to be in every range.
std::string plain_number(const std::string& text) {
    const bool plain = text.find_first_not_of("0123456789.") == std::string::npos;
    return plain ? "" : "Value " + text + " is not a number of plain digits";
}

void add_options(CLI::App& app) {
    const CLI::Range count(std::uint64_t{1}, UINT64_MAX), seconds(0.1, 1e6);
    app.add_option("--seed", wanted.seed, "Where the scripts come from; random otherwise")
        ->check(plain_number);
    app.add_option("--scripts", wanted.scripts, "End after so many scripts")
        ->check(plain_number)
        ->check(count);
    app.add_option("--seconds", wanted.seconds, "End after so many seconds")
        ->check(plain_number)
        ->check(seconds);
    app.add_option("--script", wanted.script, "Run only the script with this number")
        ->check(plain_number);
}

} // namespace

int main(int argc, char** argv) {
    testing::InitGoogleTest(&argc, argv);
    CLI::App app{"Random clients against stages 03 to 07"};
    add_options(app);
    CLI11_PARSE(app, argc, argv);
    // A script by itself runs once, all of them for a while.
    const bool bounded = wanted.seconds > 0 || app.count("--scripts") > 0;
    if (!bounded && wanted.script) wanted.scripts = 1;
    else if (!bounded) wanted.seconds = 15;
    return RUN_ALL_TESTS();
}
