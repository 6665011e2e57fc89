#include "own_network.h"

#include "child_process.h"
#include "time_limits.h"

#include <cstdlib>
#include <filesystem>
#include <gtest/gtest.h>
#include <string>
#include <unistd.h>
#include <vector>

namespace {

/// The words that start a command with a network of its own; it takes no privileges where an
/// ordinary user may make namespaces of users.
std::vector<std::string> with_own_network(const std::vector<std::string>& command) {
    std::vector<std::string> words{"unshare", "--net"};
    if (geteuid() != 0) words.emplace_back("--map-root-user");
    words.insert(words.end(),
                 {"sh", "-c", R"(PATH=$PATH:/sbin ip link set lo up && exec "$0" "$@")"});
    words.insert(words.end(), command.begin(), command.end());
    return words;
}

constexpr const char* mark = "STAGE_TESTS_IN_OWN_NETWORK";

bool is_permitted() { return run_command(with_own_network({"true"})).exit_code == 0; }

} // namespace

bool has_own_network() { return std::getenv(mark) != nullptr; }

bool enter_own_network() {
    if (has_own_network() || !is_permitted()) return true;
    const auto* test = testing::UnitTest::GetInstance()->current_test_info();
    const std::string name = std::string{test->test_suite_name()} + '.' + test->name();
    const auto program = std::filesystem::read_symlink("/proc/self/exe");
    const auto run = run_command(
        with_own_network({program, "--gtest_filter=" + name}),
        {.environment = {std::string{mark} + "=1", "GTEST_TOTAL_SHARDS=1", "GTEST_SHARD_INDEX=0"}},
        10 * patience);
    const bool passed = run.out.find("[  PASSED  ] 1 test.") != std::string::npos;
    EXPECT_TRUE(run.exit_code == 0 && passed) << run.out << run.err;
    return false;
}
