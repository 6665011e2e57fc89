// What the stages do with a client's bytes before anything else: RequestHead of common.h and
// escaped() of console.h, under libFuzzer with AddressSanitizer and UndefinedBehaviorSanitizer.
// Whatever the bytes are and however they are cut, both must say what the simple models below say.
//
//   request_fuzzer -max_total_time=15       the seed is random; it stops at a mismatch
//   request_fuzzer crash-0123...            repeats one
//
// Of an input the first four bytes say how it is used (see Input), the rest is what the client
// sends.

#include "../../06_epoll_level/common.h"
#include "../../06_epoll_level/console.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <random>
#include <vector>

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t max_size);

namespace {

constexpr std::size_t limit = 8192; // the longest head; not RequestHead's own constant on purpose

std::string hex(unsigned char byte) {
    constexpr std::string_view digits = "0123456789abcdef";
    return {'\\', 'x', digits[byte / 16], digits[byte % 16]};
}

/// The bytes as they can be read in a report.
std::string shown(std::string_view bytes) {
    std::string text;
    for (const char c : bytes) {
        if (c == '\n') text += "\\n";
        else if (c == '\r') text += "\\r";
        else if (c >= ' ' && c <= '~') text += c;
        else text += hex(static_cast<unsigned char>(c));
    }
    return '"' + text + '"';
}

/// Says which property does not hold, and ends the program, which makes libFuzzer keep the input.
[[noreturn]] void fail(const char* property, std::string_view bytes, const std::string& what) {
    std::fprintf(stderr, "request_fuzzer: not so: %s\n  bytes: %s\n  %s\n", property,
                 shown(bytes).c_str(), what.c_str());
    std::abort();
}

// ---- An input ----------------------------------------------------------------------------------

/// What a client sends, and in which pieces.
struct Input {
    std::string bytes;
    std::vector<std::string_view> pieces{}; // of `bytes`

    /// The first byte is the seed of the cuts. The other three can lengthen the rest by a run of
    /// letters, to a size near the limit, so that inputs stay short and yet reach it at once. One
    /// in eight: such a long one takes as much time as a hundred others.
    explicit Input(std::string_view data) {
        const auto control = [&](std::size_t i) {
            return i < data.size() ? static_cast<unsigned char>(data[i]) : 0U;
        };
        bytes = data.substr(std::min<std::size_t>(data.size(), 4));
        const std::size_t wanted = limit - 8 + control(2) % 16;
        const std::size_t place = bytes.size() - std::min<std::size_t>(control(3), bytes.size());
        if (control(1) % 8 == 1 && bytes.size() < wanted)
            bytes.insert(place, wanted - bytes.size(), 'a');
        cut(control(0));
    }

private:
    void cut(unsigned seed) {
        std::minstd_rand random(seed + 1);
        const std::size_t most = seed % 3 == 0   ? 3
                                 : seed % 3 == 1 ? 300
                                                 : RequestHead::max_bytes - 1;
        for (std::string_view rest = bytes; !rest.empty(); rest.remove_prefix(pieces.back().size()))
            pieces.push_back(rest.substr(0, random() % (most + 1))); // of no byte now and then
        pieces.emplace_back();
    }
};

// ---- The head ----------------------------------------------------------------------------------

/// What a RequestHead says when all pieces are in.
struct Head {
    std::string text;
    bool complete;
    bool too_long;
    bool more_follows;

    explicit Head(const RequestHead& head)
        : text(head.text()), complete(head.complete()), too_long(head.too_long()),
          more_follows(head.more_follows()) {}

    /// The model: it has all bytes before it at once.
    explicit Head(const std::string& bytes) {
        const std::size_t one = bytes.find("\n\n");
        const std::size_t other = bytes.find("\n\r\n");
        std::size_t end = std::string::npos;
        if (one != std::string::npos) end = one + 2;
        if (other != std::string::npos) end = std::min(end, other + 3);
        complete = end <= limit;
        text = bytes.substr(0, std::min(end, limit));
        too_long = !complete && text.size() == limit;
        more_follows = !complete || bytes.size() > text.size() || announces_a_body();
    }

    bool operator==(const Head&) const = default;

    std::string shown() const {
        return std::to_string(text.size()) + " bytes of text" + (complete ? ", complete" : "") +
               (too_long ? ", too long" : "") + (more_follows ? ", more follows" : "");
    }

private:
    /// Whether a line after the first begins with one of the two names, in capitals or not.
    bool announces_a_body() const {
        for (std::size_t i = text.find('\n'); i != std::string::npos; i = text.find('\n', i + 1)) {
            for (const char* name : {"content-length:", "transfer-encoding:"})
                if (strncasecmp(text.c_str() + i + 1, name, std::strlen(name)) == 0) return true;
        }
        return false;
    }
};

void check_head(const Input& input) {
    const Head model(input.bytes);
    RequestHead whole;
    whole.add(input.bytes);
    Head expected = model; // a head that fills one recv() leaves open what is behind it
    if (model.complete && model.text.size() == RequestHead::max_bytes) expected.more_follows = true;
    if (Head(whole) != expected)
        fail("the head is what the model says", input.bytes,
             Head(whole).shown() + "; the model: " + expected.shown());
    RequestHead in_pieces;
    std::string sizes;
    for (const std::string_view piece : input.pieces) {
        in_pieces.add(piece);
        sizes += ' ' + std::to_string(piece.size());
    }
    if (Head(in_pieces) != model)
        fail("the head is the same however the bytes are cut", input.bytes,
             Head(in_pieces).shown() + "; the model: " + model.shown() + "; pieces:" + sizes);
}

// ---- What is printed ---------------------------------------------------------------------------

/// Bytes of the well-formed UTF-8 character that `text` begins with, 0 if with none: RFC 3629 §4,
/// line by line. `code` is its number.
std::size_t utf8_bytes(std::string_view text, std::uint32_t& code) {
    const auto in = [&](std::size_t i, unsigned low, unsigned high) {
        const unsigned byte = i < text.size() ? static_cast<unsigned char>(text[i]) : 0U;
        code = i == 0 ? byte : code << 6U | (byte & 0x3FU);
        return i < text.size() && byte >= low && byte <= high;
    };
    if (in(0, 0x00, 0x7F)) return 1;
    if (in(0, 0xC2, 0xDF) && in(1, 0x80, 0xBF)) return code &= 0x7FF, 2;
    if ((in(0, 0xE0, 0xE0) && in(1, 0xA0, 0xBF) && in(2, 0x80, 0xBF)) ||
        (in(0, 0xE1, 0xEC) && in(1, 0x80, 0xBF) && in(2, 0x80, 0xBF)) ||
        (in(0, 0xED, 0xED) && in(1, 0x80, 0x9F) && in(2, 0x80, 0xBF)) ||
        (in(0, 0xEE, 0xEF) && in(1, 0x80, 0xBF) && in(2, 0x80, 0xBF)))
        return code &= 0xFFFF, 3;
    if ((in(0, 0xF0, 0xF0) && in(1, 0x90, 0xBF) && in(2, 0x80, 0xBF) && in(3, 0x80, 0xBF)) ||
        (in(0, 0xF1, 0xF3) && in(1, 0x80, 0xBF) && in(2, 0x80, 0xBF) && in(3, 0x80, 0xBF)) ||
        (in(0, 0xF4, 0xF4) && in(1, 0x80, 0x8F) && in(2, 0x80, 0xBF) && in(3, 0x80, 0xBF)))
        return code &= 0x1FFFFF, 4;
    return 0;
}

/// Whether a character has no width, ends a line, or turns the direction of the text: the
/// Default_Ignorable_Code_Point of Unicode's DerivedCoreProperties, the separators of lines, and
/// the bidirectional controls of UAX #9.
bool is_unseen(std::uint32_t code) {
    constexpr std::pair<std::uint32_t, std::uint32_t> ranges[] = {
        {0xAD, 0xAD},      {0x34F, 0x34F},   {0x61C, 0x61C},     {0x115F, 0x1160},
        {0x17B4, 0x17B5},  {0x180B, 0x180F}, {0x200B, 0x200F},   {0x2028, 0x202E},
        {0x2060, 0x206F},  {0x3164, 0x3164}, {0xFE00, 0xFE0F},   {0xFEFF, 0xFEFF},
        {0xFFA0, 0xFFA0},  {0xFFF0, 0xFFFB}, {0x1BCA0, 0x1BCA3}, {0x1D173, 0x1D17A},
        {0xE0000, 0xE0FFF}};
    return std::any_of(std::begin(ranges), std::end(ranges), [code](const auto& range) {
        return code >= range.first && code <= range.second;
    });
}

/// Bytes of the character, or line end, that `text` begins with, if a terminal may be sent it.
std::size_t harmless_bytes(std::string_view text) {
    if (text.starts_with("\r\n")) return 2;
    std::uint32_t code = 0;
    const std::size_t length = utf8_bytes(text, code);
    if (length == 0) return 0;
    const bool control = code < 0x20 || (code >= 0x7F && code <= 0x9F);
    if (is_unseen(code)) return 0;
    return !control || code == '\t' || code == '\n' ? length : 0;
}

void check_escaped(const std::string& bytes) {
    const std::string result = escaped(bytes);
    for (std::string_view rest = result; !rest.empty();) {
        const std::size_t length = harmless_bytes(rest);
        if (length == 0)
            fail("nothing but printable UTF-8, tabs and line ends is left", bytes,
                 "left: " + shown(rest.substr(0, 8)));
        rest.remove_prefix(length);
    }
    std::string model;
    for (std::string_view rest = bytes; !rest.empty();) {
        const std::size_t length = harmless_bytes(rest);
        if (length > 0) model += rest.substr(0, length);
        else model += hex(static_cast<unsigned char>(rest.front()));
        rest.remove_prefix(std::max<std::size_t>(length, 1));
    }
    if (result != model)
        fail("what is harmless stays, each other byte becomes \\xHH", bytes,
             "escaped: " + shown(result) + "; the model: " + shown(model));
    // A backslash stays as it is. So nothing is escaped twice, and none can tell an escaped byte
    // from the four characters, had a client sent them; on a terminal that does no harm.
    if (escaped(result) != result) fail("escaping again changes nothing", bytes, shown(result));
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const bool set = std::setlocale(LC_CTYPE, "C.UTF-8") != nullptr; // as run() does
    if (!set) fail("there is a locale C.UTF-8", "", "escaped() needs it");
    const Input input({reinterpret_cast<const char*>(data), size});
    check_head(input);
    if (size > 4) check_escaped({reinterpret_cast<const char*>(data) + 4, size - 4});
    return 0;
}

/// Puts in, now and then, what chance would take long to find: the words of a head, and characters
/// on both sides of each limit of UTF-8.
extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size,
                                               std::size_t max_size, unsigned seed) {
    static constexpr std::string_view words[] = {"\n\n",
                                                 "\n\r\n",
                                                 "\r\n",
                                                 "\r",
                                                 "\ncontent-length:",
                                                 "\nTransfer-Encoding: ",
                                                 "\nCONTENT-LENGTH:",
                                                 "\x1b[2J",
                                                 "\x7f",
                                                 "\xc2\x80",
                                                 "\xc2\x9f",
                                                 "\xc2\xa0",
                                                 "\xc1\xbf",
                                                 "\xd8\x9c",
                                                 "\xe2\x80\x8b",
                                                 "\xe2\x81\xb0",
                                                 "\xef\xbb\xbf",
                                                 "\xf3\xa0\x81\x81",
                                                 "\xe0\x9f\xbf",
                                                 "\xe0\xa0\x80",
                                                 "\xed\x9f\xbf",
                                                 "\xed\xa0\x80",
                                                 "\xef\xbf\xbf",
                                                 "\xf0\x8f\xbf\xbf",
                                                 "\xf0\x90\x80\x80",
                                                 "\xf4\x8f\xbf\xbf",
                                                 "\xf4\x90\x80\x80",
                                                 "\xf8\x88\x80\x80\x80"};
    std::minstd_rand random(seed + 1);
    const std::string_view word = words[random() % std::size(words)];
    if (random() % 3 != 0 || size + word.size() > max_size)
        return LLVMFuzzerMutate(data, size, max_size);
    const std::size_t place = random() % (size + 1);
    std::memmove(data + place + word.size(), data + place, size - place);
    std::memcpy(data + place, word.data(), word.size());
    return size + word.size();
}
