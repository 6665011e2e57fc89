#include "assertions.h"

#include "subject.h"
#include "time_limits.h"

#include <algorithm>
#include <gtest/gtest.h>

namespace {

/// A server that is tried may send what headers it likes.
void expect_body(const Reply& reply, std::uint64_t body_bytes) {
    std::string expected;
    while (expected.size() < body_bytes) expected += body_text;
    expected.resize(body_bytes);
    EXPECT_EQ(reply.status(), 200);
    EXPECT_TRUE(reply.body() == expected) << reply.body().substr(0, 100);
}

/// And it may send another status than the stages.
void expect_status(const Reply& reply, int status) {
    EXPECT_EQ(reply.end, End::eof);
    EXPECT_EQ(reply.status(), subject()->status_for(status));
}

} // namespace

void expect_hello(const Reply& reply, std::uint64_t body_bytes) {
    EXPECT_EQ(reply.end, End::eof);
    if (subject() != nullptr) return expect_body(reply, body_bytes);
    const auto expected = expected_response(body_bytes);
    if (body_bytes <= 100) {
        EXPECT_EQ(reply.bytes, expected);
    } else { // too long to print
        EXPECT_TRUE(reply.bytes == expected)
            << reply.bytes.size() << " bytes of " << expected.size();
    }
}

void expect_error(const Reply& reply, const std::string& status) {
    if (subject() != nullptr) return expect_status(reply, std::stoi(status));
    const auto body = reply.body();
    EXPECT_EQ(reply.end, End::eof);
    EXPECT_EQ(reply.bytes, "HTTP/1.0 " + status + "\r\nContent-Type: text/plain\r\n" +
                               "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" +
                               body);
    EXPECT_FALSE(body.empty());
    EXPECT_TRUE(body.ends_with('\n'));
    EXPECT_EQ(lines_of(body).size(), 1U);
}

std::string head_of_size(std::size_t size) {
    const std::string start = "GET / HTTP/1.0\r\nX-Long: ";
    const std::string end = "\r\n\r\n";
    return start + std::string(size - start.size() - end.size(), 'x') + end;
}

Servers::Servers(Stage stage, std::vector<std::string> arguments)
    : stage_{std::move(stage)}, arguments_{std::move(arguments)} {}

StageProcess& Servers::for_next_client() {
    const bool used_up = stage_.number == 1;
    if (server_ && used_up) server_.reset();
    if (!server_) server_ = std::make_unique<StageProcess>(stage_, arguments_);
    return *server_;
}

std::vector<HttpClient> clients_that_sent(const Address& server, std::size_t count,
                                          std::string_view sent, const ClientOptions& options) {
    std::vector<HttpClient> clients;
    for (std::size_t i = 0; i < count; ++i) {
        clients.emplace_back(server, options);
        clients.back().send(sent);
    }
    return clients;
}

std::size_t count_answers(std::vector<HttpClient>& clients, int status) {
    const int wanted = subject() == nullptr ? status : subject()->status_for(status);
    const std::string right = wanted == 0 ? "closed" : std::to_string(wanted);
    return static_cast<std::size_t>(
        std::count_if(clients.begin(), clients.end(), [&right](HttpClient& client) {
            const Reply reply = client.read_to_end();
            if (reply.end == End::eof) client.leave_no_trace();
            return reply.summary() == right;
        }));
}

bool answered_before_rest(const HttpClient& client, const StageProcess& server) {
    bool answered = false;
    eventually([&] { return (answered = client.readable()) || server.idle_for(20ms); });
    return answered || client.readable();
}

std::vector<std::uint64_t> waits_beside(const FastReader& reader, std::uint64_t body_bytes,
                                        const Address& server) {
    std::vector<std::uint64_t> waits;
    while (!reader.done()) {
        HttpClient other{server};
        const auto before = reader.received();
        other.send(simple_request);
        EXPECT_EQ(other.read_some(1).bytes, "H");
        const auto after = reader.received();
        if (after < body_bytes) waits.push_back(after - before);
        other.reset();
    }
    return waits;
}

void expect_prompt_end(const Stage& stage, const std::vector<std::string>& arguments, int signal,
                       const std::function<void(StageProcess&)>& prepare,
                       const SpawnOptions& options) {
    expect_within(scaled(1s), [&] {
        StageProcess server{stage, arguments, options};
        prepare(server);
        const auto start = Clock::now();
        server.send_signal(signal);
        EXPECT_EQ(server.exit_code(), stage.profile.ends_cleanly ? 0 : 128 + signal)
            << server.err();
        const auto time = Clock::now() - start;
        if (subject() == nullptr) {
            EXPECT_TRUE(server.complaints().empty()) << server.err();
        }
        return time;
    });
}
