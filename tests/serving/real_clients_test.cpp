// Clients that others have written: curl, and the article's ab.

#include "harness/assertions.h"

#include <fstream>

namespace {

std::string url_of(const StageProcess& server) {
    return "http://127.0.0.1:" + std::to_string(server.address().port) + '/';
}

class RealClients : public StageTest {};

INSTANTIATE_TEST_SUITE_P(, RealClients, testing::ValuesIn(all_stages()), stage_name);

TEST_P(RealClients, CurlGets) {
    StageProcess server{stage()};
    const auto curl = run_command(
        {"curl", "--silent", "--show-error", "--include", "--noproxy", "*", url_of(server)});
    EXPECT_EQ(curl.exit_code, 0) << curl.err;
    expect_hello({.bytes = curl.out, .end = End::eof});
}

TEST_P(RealClients, CurlPosts) {
    const TemporaryFolder folder;
    const auto file = folder.path() / "body";
    std::ofstream{file} << std::string(1 << 20, 'b');
    StageProcess server{stage(), {"--body-bytes", "300000"}};
    const auto curl = run_command({"curl", "--silent", "--show-error", "--include", "--noproxy",
                                   "*", "--data-binary", '@' + file.string(), url_of(server)});
    EXPECT_EQ(curl.exit_code, 0) << curl.err;
    expect_hello({.bytes = curl.out, .end = End::eof}, 300000);
}

class RealClientsAtOnce : public StageTest {};

INSTANTIATE_TEST_SUITE_P(, RealClientsAtOnce, testing::ValuesIn(serving_stages()), stage_name);

/// The number after `label` in ab's report; -1 if there is none.
long reported(const std::string& report, const std::string& label) {
    for (const auto& line : lines_of(report)) {
        if (line.starts_with(label)) return std::stol(line.substr(label.size()));
    }
    return -1;
}

TEST_P(RealClientsAtOnce, NoFailedRequest) {
    StageProcess server{stage(), {"--quiet"}};
    const auto ab = run_command({"ab", "-q", "-c", "100", "-n", "1000", url_of(server)});
    EXPECT_EQ(ab.exit_code, 0) << ab.err;
    EXPECT_EQ(reported(ab.out, "Complete requests:"), 1000) << ab.out;
    EXPECT_EQ(reported(ab.out, "Failed requests:"), 0) << ab.out;
    EXPECT_EQ(reported(ab.out, "HTML transferred:"), 1000 * 13) << ab.out;
    EXPECT_EQ(reported(ab.out, "Non-2xx responses:"), -1) << ab.out; // printed only if there are
}

} // namespace
