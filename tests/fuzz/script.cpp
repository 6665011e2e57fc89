#include "script.h"

#include "harness/http_client.h"

#include <algorithm>
#include <array>
#include <random>
#include <utility>

namespace {

constexpr std::size_t longest_head = 8192;
constexpr std::size_t server_buffer = 4096; // bytes the stages ask for with one recv()

/// The numbers that one script is made from.
std::mt19937_64 numbers_of(std::uint64_t seed, std::uint64_t script) {
    std::seed_seq both{seed & UINT32_MAX, seed >> 32U, script & UINT32_MAX, script >> 32U};
    return std::mt19937_64{both};
}

/// Makes up one script. Without the distributions of <random>: another standard library would make
/// another script of the same number.
class Writer {
public:
    Writer(std::uint64_t seed, std::uint64_t number) : random_{numbers_of(seed, number)} {}

    Script write() {
        const auto dice = below(20);
        script_.kind = dice == 0   ? Kind::silent
                       : dice <= 5 ? Kind::long_response
                                   : Kind::short_response;
        std::vector<std::vector<Step>> parts(1 + below(5));
        for (std::size_t client = 0; client < parts.size(); ++client)
            parts[client] = part_of(client);
        interleave(parts);
        return std::move(script_);
    }

private:
    std::uint64_t below(std::uint64_t end) { return random_() % end; }
    bool one_in(std::uint64_t count) { return below(count) == 0; }
    template <typename Choice> auto any_of(std::initializer_list<Choice> choices) {
        return choices.begin()[below(choices.size())];
    }

    Setup setup() {
        Setup setup;
        if (one_in(4)) setup.receive_buffer = any_of({2048, 8192, 20000});
        if (one_in(3)) setup.segment_size = any_of({88, 536, 1460});
        return setup;
    }

    // ---- What a client sends

    std::string letters(std::size_t count) {
        std::string text(count, 'x');
        for (auto& c : text) c = static_cast<char>('a' + below(26));
        return text;
    }

    /// Bytes of all kinds, line ends being frequent; none where `line_ends` is false.
    std::string garbage(std::size_t count, bool line_ends = true) {
        static constexpr std::string_view frequent = "\n\r\n: a\x1b\x9b\xc2\xff";
        std::string text(count, ' ');
        for (auto& c : text) {
            c = one_in(2) ? static_cast<char>(below(256)) : frequent[below(frequent.size())];
            if (!line_ends && c == '\n') c = '.';
        }
        return text;
    }

    std::string line_end() { return any_of({"\r\n", "\r\n", "\n"}); }

    /// A head without its blank line, of fields that announce a body or not.
    std::string fields() {
        std::string head = any_of({"GET / HTTP/1.0", "POST /a HTTP/1.1", "x", ""}) + line_end();
        for (auto count = below(5); count > 0; --count)
            head += letters(1 + below(9)) + ": " + garbage(below(60), false) + line_end();
        if (one_in(3))
            head += any_of({"Content-Length: 5", "transfer-ENCODING: chunked"}) + line_end();
        return head;
    }

    /// A head of about the longest size, or of one at which a recv() of the stages is full.
    std::string long_head() {
        const auto about = any_of({longest_head, longest_head, server_buffer, 3 * server_buffer});
        const std::string start = fields() + "Long: ", end = line_end() + line_end();
        const auto size = about - 3 + below(7);
        const auto taken = start.size() + end.size();
        return start + letters(size > taken ? size - taken : 0) + end;
    }

    /// All that a client sends, its head complete or not.
    std::string speech() {
        std::string text;
        switch (below(8)) {
        case 0:
            text = garbage(below(400));
            break;
        case 1:
        case 2:
            text = long_head();
            break;
        case 3:
            text = letters(below(20000));
            break;
        case 4:
            text = fields();
            break; // the blank line is missing
        default:
            text = fields() + line_end();
        }
        if (one_in(3)) text += one_in(2) ? fields() + line_end() : garbage(below(3000));
        if (one_in(12)) text += letters(below(100000));
        return text;
    }

    /// What never becomes a complete head, nor one that is too long.
    std::string unfinished_speech() {
        std::string text;
        if (!one_in(4)) text = "GET / HTTP/1.0\r\nX: " + garbage(below(6000), false);
        return text + any_of({"", "\n", "\r", "\r\n"});
    }

    // ---- What a client does

    /// The speech in pieces: cut anywhere, or, so that the blank line is hit, near a line's end.
    std::vector<std::string> pieces_of(const std::string& text) {
        std::vector<std::size_t> cuts{0, text.size()};
        for (auto count = below(one_in(8) ? 30 : 5); count > 0 && !text.empty(); --count) {
            const auto near = std::min(text.find('\n', below(text.size())), text.size());
            cuts.push_back(one_in(3) ? below(text.size()) : std::min(near + below(3), text.size()));
        }
        std::sort(cuts.begin(), cuts.end());
        std::vector<std::string> pieces;
        for (std::size_t i = 1; i < cuts.size(); ++i)
            if (cuts[i] > cuts[i - 1])
                pieces.push_back(text.substr(cuts[i - 1], cuts[i] - cuts[i - 1]));
        return pieces;
    }

    std::vector<Step> part_of(std::size_t client) {
        script_.clients.push_back(setup());
        const bool silent = script_.kind == Kind::silent;
        Model model{script_.kind, script_.clients.back()};
        std::vector<Step> part{{client, Act::connect}};
        const auto leaves_after = one_in(6) ? below(6) : SIZE_MAX; // pieces
        std::size_t count = 0;
        for (const auto& piece : pieces_of(silent ? unfinished_speech() : speech())) {
            if (count++ >= leaves_after) break;
            if (one_in(3)) part.push_back({client, Act::pause, below(one_in(4) ? 3000 : 300)});
            if (one_in(4) && !silent) part.push_back({client, Act::read, 1 + below(40000)});
            part.push_back({client, Act::send, 0, piece});
            model.send(piece);
        }
        end(part, client, model, leaves_after != SIZE_MAX || one_in(8));
        return part;
    }

    /// How the client ends. It waits for an answer only where one is due.
    void end(std::vector<Step>& part, std::size_t client, const Model& model, bool leaves) {
        for (auto reads = model.decided() ? below(3) : 0; reads > 0; --reads) {
            part.push_back({client, Act::read, 1 + below(60000)});
            part.push_back({client, Act::pause, below(500)});
        }
        if (leaves) return part.push_back({client, one_in(2) ? Act::close : Act::reset});
        // Not if it is silent: end of file and deadline would come at the same time.
        if (script_.kind != Kind::silent && (!model.decided() || one_in(4)))
            part.push_back({client, Act::finish_sending});
        part.push_back({client, Act::read_to_end});
    }

    /// Puts the parts into one order, in which each keeps its own.
    void interleave(std::vector<std::vector<Step>>& parts) {
        std::vector<std::size_t> next(parts.size());
        while (!parts.empty()) {
            const auto i = below(parts.size());
            script_.steps.push_back(parts[i][next[i]++]);
            if (next[i] < parts[i].size()) continue;
            parts.erase(parts.begin() + static_cast<std::ptrdiff_t>(i));
            next.erase(next.begin() + static_cast<std::ptrdiff_t>(i));
        }
    }

    std::mt19937_64 random_;
    Script script_{};
};

std::string error_response(const std::string& status) {
    return "HTTP/1.0 " + status +
           "\r\nContent-Type: text/plain\r\nContent-Length: " + std::to_string(status.size() + 1) +
           "\r\n\r\n" + status + "\n";
}

} // namespace

Script make_script(std::uint64_t seed, std::uint64_t number) {
    return Writer{seed, number}.write();
}

std::string quoted(std::string_view bytes) {
    static constexpr std::string_view digits = "0123456789abcdef";
    std::string text = "\"";
    for (const char c : bytes) {
        const auto byte = static_cast<unsigned char>(c);
        if (c == '\n') text += "\\n";
        else if (c == '\r') text += "\\r";
        else if (c >= ' ' && c <= '~') text += c;
        else text.append({'\\', 'x', digits[byte / 16], digits[byte % 16]});
    }
    return text + '"';
}

std::string describe(const Script& script) {
    static constexpr std::array names{"connects",         "sends", "pauses",
                                      "finishes sending", "reads", "reads to the end",
                                      "closes",           "resets"};
    static constexpr std::array kinds{"short responses", "long responses", "a near deadline"};
    std::string text =
        std::string{"for servers with "} + kinds.at(static_cast<std::size_t>(script.kind)) + '\n';
    for (const Step& step : script.steps) {
        const Setup& setup = script.clients[step.client];
        text += "  client " + std::to_string(step.client) + ' ' +
                names.at(static_cast<std::size_t>(step.act));
        if (step.act == Act::connect && setup.receive_buffer > 0)
            text += ", receive buffer " + std::to_string(setup.receive_buffer);
        if (step.act == Act::connect && setup.segment_size > 0)
            text += ", segments of " + std::to_string(setup.segment_size);
        if (step.act == Act::pause) text += ' ' + std::to_string(step.amount) + " us";
        if (step.act == Act::read) text += " up to " + std::to_string(step.amount);
        if (step.act == Act::send) {
            const std::string_view bytes = step.bytes;
            text += ' ' + std::to_string(bytes.size()) + ": " + quoted(bytes.substr(0, 120));
            if (bytes.size() > 120)
                text +=
                    " ... " + quoted(bytes.substr(std::max<std::size_t>(bytes.size() - 60, 120)));
        }
        text += '\n';
    }
    return text;
}

Answers::Answers(std::uint64_t body_bytes)
    : hello{expected_response(body_bytes)}, too_large{error_response(
                                                "431 Request Header Fields Too Large")},
      too_late{error_response("408 Request Timeout")} {}

const std::string& Answers::of(Outcome outcome) const {
    static const std::string none;
    switch (outcome) {
    case Outcome::hello:
        return hello;
    case Outcome::too_large:
        return too_large;
    case Outcome::too_late:
        return too_late;
    default:
        return none;
    }
}

void Model::send(std::string_view bytes) {
    const bool first = sent_.empty();
    const bool answered = outcome() == Outcome::hello;
    sent_ += bytes;
    if (kind_ != Kind::short_response || outcome() != Outcome::hello) return;
    const auto end = end_of_head();
    if (announces_more(end) || sent_.size() == end) return;
    // More than a plain head has come. A server that has read the head alone closes as soon as it
    // has answered, and a reset follows. It must know better where both came in one piece, which
    // they do in the first send() if segments are long.
    const bool together = first && setup_.segment_size == 0;
    if (answered || !together) sure_ = false;
}

Outcome Model::outcome() const {
    if (kind_ == Kind::silent) return Outcome::too_late;
    if (end_of_head() <= longest_head) return Outcome::hello;
    if (sent_.size() >= longest_head) return Outcome::too_large;
    return finished_ ? Outcome::nothing : Outcome::cut_short;
}

std::size_t Model::end_of_head() const {
    const auto one = sent_.find("\n\n");
    const auto other = sent_.find("\n\r\n");
    return std::min(one == std::string::npos ? one : one + 2,
                    other == std::string::npos ? other : other + 3);
}

bool Model::announces_more(std::size_t end) const {
    auto head = sent_.substr(0, end);
    for (char& c : head)
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    return head.find("\ncontent-length:") != std::string::npos ||
           head.find("\ntransfer-encoding:") != std::string::npos;
}
