#include "runner.h"

#include "harness/time_limits.h"

#include <algorithm>
#include <arpa/inet.h>
#include <cerrno>
#include <chrono>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <optional>
#include <poll.h>
#include <sys/socket.h>
#include <system_error>

namespace {

/// A client of the script at one server.
class Peer {
public:
    Peer(const Address& server, const Setup& setup, Clock::duration deadline)
        : socket_{checked(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket")},
          late_at_{Clock::now() + deadline} {
        if (setup.receive_buffer > 0) set(SOL_SOCKET, SO_RCVBUF, setup.receive_buffer);
        if (setup.segment_size > 0) set(IPPROTO_TCP, TCP_MAXSEG, setup.segment_size);
        set(IPPROTO_TCP, TCP_NODELAY, 1); // a piece that waited for the last would not be a piece
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_port = htons(server.port);
        address.sin_addr.s_addr = inet_addr(server.host.c_str());
        checked(::connect(socket_.number(), reinterpret_cast<sockaddr*>(&address), sizeof address),
                "connect");
    }

    /// Sends it all. Where the server takes no more for now, it receives: a server that sends may
    /// wait for that. False if the connection takes nothing any more, or not before patience ends.
    bool send(std::string_view bytes) {
        const auto give_up = Clock::now() + patience;
        while (!bytes.empty()) {
            const auto n =
                ::send(socket_.number(), bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
            if (n > 0) bytes.remove_prefix(static_cast<std::size_t>(n));
            else if (errno != EAGAIN || Clock::now() >= give_up) return false;
            else if (wait(end_ ? POLLOUT : POLLIN | POLLOUT, give_up)) receive(SIZE_MAX);
        }
        if (Clock::now() >= late_at_) late_ = true;
        return true;
    }

    void finish_sending() { ::shutdown(socket_.number(), SHUT_WR); } // fails after a reset only

    bool readable() const { return wait(POLLIN, Clock::now()); }

    /// Waits until there is something to receive, and receives up to `most` bytes of it.
    void read(std::size_t most) {
        if (wait(POLLIN, Clock::now() + patience)) receive(most);
    }

    /// Receives until the end, as long as more comes before patience ends.
    void read_to_end() {
        while (!end_ && wait(POLLIN, Clock::now() + patience)) receive(SIZE_MAX);
    }

    void close() { socket_.close(); }
    void reset() {
        const linger at_once{1, 0};
        ::setsockopt(socket_.number(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
        socket_.close();
    }

    const std::string& received() const { return received_; }
    /// How the server's stream ended: 0, the end of file, or an error such as ECONNRESET; nothing
    /// while it goes on.
    std::optional<int> end() const { return end_; }
    /// Whether a send() came so late that the server's deadline may have passed before it.
    bool late() const { return late_; }

private:
    void set(int level, int option, int value) {
        checked(::setsockopt(socket_.number(), level, option, &value, sizeof value), "setsockopt");
    }

    bool wait(int events, Clock::time_point deadline) const {
        pollfd poll_for{socket_.number(), static_cast<short>(events), 0};
        return ::poll(&poll_for, 1, milliseconds_left(deadline)) > 0;
    }

    void receive(std::size_t most) {
        std::array<char, 65536> buffer;
        const auto n =
            ::recv(socket_.number(), buffer.data(), std::min(most, buffer.size()), MSG_DONTWAIT);
        if (n > 0) received_.append(buffer.data(), static_cast<std::size_t>(n));
        else if (n == 0) end_ = 0;
        else if (errno != EAGAIN) end_ = errno;
    }

    Descriptor socket_;
    Clock::time_point late_at_;
    bool late_ = false;
    std::string received_;
    std::optional<int> end_;
};

/// Where two texts differ, for a report.
std::string difference(const std::string& got, const std::string& expected) {
    const auto pair = std::mismatch(got.begin(), got.end(), expected.begin(), expected.end());
    const auto at = static_cast<std::size_t>(pair.first - got.begin());
    return "got " + std::to_string(got.size()) + " bytes, expected " +
           std::to_string(expected.size()) + "; from byte " + std::to_string(at) +
           " on\n    got      " + quoted(std::string_view{got}.substr(at, 80)) + "\n    expected " +
           quoted(std::string_view{expected}.substr(at, 80));
}

/// One client of a script: what it is due, and its connection to each server.
struct Client {
    Model model;
    std::vector<Peer> peers{};
};

/// One run of a script.
class Run {
public:
    Run(const Script& script, const Fleet& fleet, Tally& tally)
        : script_{script}, fleet_{fleet}, tally_{tally} {
        for (const Setup& setup : script.clients) clients_.push_back({{script.kind, setup}});
    }

    void take(const Step& step) {
        Client& client = clients_[step.client];
        if (step.act == Act::connect) return connect(step);
        if (step.act == Act::pause)
            return std::this_thread::sleep_for(std::chrono::microseconds(step.amount));
        if (step.act == Act::send) client.model.send(step.bytes);
        if (step.act == Act::finish_sending) client.model.finish_sending();
        for (std::size_t i = 0; i < client.peers.size(); ++i) take(step, i);
    }

private:
    void connect(const Step& step) {
        for (const auto& server : fleet_.servers) {
            clients_[step.client].peers.emplace_back(server->address(),
                                                     script_.clients[step.client], fleet_.deadline);
            ++tally_.connections;
        }
    }

    /// The step at one server.
    void take(const Step& step, std::size_t server) {
        Peer& peer = clients_[step.client].peers[server];
        switch (step.act) {
        case Act::send:
            if (!peer.send(step.bytes) && sure(step, server))
                fail(step, server, "the server takes no more");
            break;
        case Act::finish_sending:
            peer.finish_sending();
            break;
        case Act::read:
            read(step, server);
            break;
        case Act::read_to_end:
            peer.read_to_end();
            break;
        case Act::close:
            peer.close();
            break;
        default:
            peer.reset();
        }
        check_prefix(step, server);
        if (step.act == Act::read_to_end) check_end(step, server);
        if (step.act == Act::read_to_end) peer.close();
        if (step.act >= Act::read_to_end) count(step, server);
    }

    bool sure(const Step& step, std::size_t server) const {
        const Client& client = clients_[step.client];
        return client.model.sure() && !client.peers[server].late();
    }

    const std::string& due(const Step& step) const {
        return fleet_.answers.of(clients_[step.client].model.outcome());
    }

    void read(const Step& step, std::size_t server) {
        Client& client = clients_[step.client];
        Peer& peer = client.peers[server];
        if (!client.model.decided() && peer.readable())
            fail(step, server, "the server answers, or closes, before the head is complete");
        if (!client.model.decided() || peer.received().size() >= due(step).size() || peer.end())
            return;
        const auto before = peer.received().size();
        peer.read(step.amount);
        if (peer.received().size() == before && sure(step, server))
            fail(step, server, "nothing more has come");
    }

    /// Whatever has come so far must be what is due, as far as it goes.
    void check_prefix(const Step& step, std::size_t server) const {
        const auto& received = clients_[step.client].peers[server].received();
        if (!due(step).starts_with(received)) fail(step, server, "other bytes");
    }

    void check_end(const Step& step, std::size_t server) const {
        const Peer& peer = clients_[step.client].peers[server];
        if (!peer.end()) fail(step, server, "the server does not end the connection");
        if (!sure(step, server)) return;
        if (peer.received() != due(step)) fail(step, server, "the response is not complete");
        if (*peer.end() != 0) fail(step, server, "no end of file");
    }

    void count(const Step& step, std::size_t server) {
        const Client& client = clients_[step.client];
        const auto& received = client.peers[server].received();
        const bool whole = step.act == Act::read_to_end && received == due(step);
        const auto outcome = whole ? client.model.outcome() : Outcome::cut_short;
        ++tally_.outcomes.at(static_cast<std::size_t>(outcome));
        tally_.received += received.size();
        if (!sure(step, server)) ++tally_.unsure;
    }

    [[noreturn]] void fail(const Step& step, std::size_t server, const std::string& what) const {
        const Peer& peer = clients_[step.client].peers[server];
        std::string end = "the connection goes on";
        if (peer.end() == 0) end = "the end of file has come";
        else if (peer.end()) end = "recv: " + std::generic_category().message(*peer.end());
        throw Mismatch(fleet_.names[server] + ", client " + std::to_string(step.client) + ": " +
                       what + " (" + end + ")\n  " + difference(peer.received(), due(step)));
    }

    const Script& script_;
    const Fleet& fleet_;
    Tally& tally_;
    std::vector<Client> clients_;
};

} // namespace

void run_script(const Script& script, const Fleet& fleet, Tally& tally) {
    Run run{script, fleet, tally};
    for (const Step& step : script.steps) {
        if (tally.failed) return;
        run.take(step);
    }
    ++tally.scripts;
}
