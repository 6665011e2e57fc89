// What several themes assert in the same way, and servers for more than one client.
#pragma once

#include "http_client.h"
#include "stage_process.h"

#include <functional>
#include <memory>
#include <string>
#include <vector>

/// The article's response, byte for byte, and then the end of file.
void expect_hello(const Reply& reply, std::uint64_t body_bytes = body_text.size());

/// An error's response in its exact form, and then the end of file: the status line with `status`
/// ("408 Request Timeout"), Content-Type, Content-Length and a body of that length and of one line.
void expect_error(const Reply& reply, const std::string& status);

/// A head of just `size` bytes, blank line included.
std::string head_of_size(std::size_t size);

/// One server for each client where the stage ends after one, else one server for all of them.
class Servers {
public:
    explicit Servers(Stage stage, std::vector<std::string> arguments = {});
    StageProcess& for_next_client();

private:
    Stage stage_;
    std::vector<std::string> arguments_;
    std::unique_ptr<StageProcess> server_;
};

/// `count` clients that have connected, each with `sent` on its way.
std::vector<HttpClient> clients_that_sent(const Address& server, std::size_t count,
                                          std::string_view sent, const ClientOptions& options = {});

/// How many of the clients get the status `status` and the end of file. They leave no trace then.
std::size_t count_answers(std::vector<HttpClient>& clients, int status);

/// Waits until the client can read something, or until the stage has come to rest without that:
/// then the client waits for something other than the stage's time. True if it can read.
bool answered_before_rest(const HttpClient& client, const StageProcess& server);

/// Asks again and again while `reader` has yet to receive some of a response of `body_bytes`. For
/// each answer that came before the end: how many bytes the reader received meanwhile.
std::vector<std::uint64_t> waits_beside(const FastReader& reader, std::uint64_t body_bytes,
                                        const Address& server);

/// Expects that something takes less than `limit`, in one of three tries at least: a busy machine
/// is late now and then, and a defect each time. `action` does it once, and returns how long it
/// took.
template <typename Action> void expect_within(Clock::duration limit, Action action) {
    auto shortest = Clock::duration::max();
    for (int i = 0; i < 3 && shortest >= limit && !testing::Test::HasFailure(); ++i)
        shortest = std::min<Clock::duration>(shortest, action());
    EXPECT_LT(shortest, limit);
}

/// Starts a server, has `prepare` bring it into some state, and sends it the signal: it must end
/// with 0, and within one second. A busy machine gets three tries for the second.
void expect_prompt_end(const Stage& stage, const std::vector<std::string>& arguments, int signal,
                       const std::function<void(StageProcess&)>& prepare,
                       const SpawnOptions& options = {});
