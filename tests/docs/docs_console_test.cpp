// The transcripts of the docs, run anew: page by page, the commands of the `console` blocks are
// typed in order, and what they print must be what stands there.
//
//   ```console          the first terminal; "console second" and "console third" are others
//   $ command           "> " goes on with it; "^C" is where the reader presses Ctrl-C
//   <!-- varies: R -->  from here on, whatever the expression R matches may differ
//   <!-- build: hardened -->  the next block is about a build with the flags of the release preset,
//                       and is not run in another
//
// What is compared is what a line says, not how a version of a program lays it out: see one_form.
//
// A server that a block leaves running ends with the block's ^C: when its terminal is used again,
// or at the end of the page. One without a ^C, before a block of another terminal, ends by itself
// until then. Ports 8080 and 8081 stand for two that are free.

#include "harness/stages.h"
#include "harness/support.h"
#include "harness/tcp_table.h"
#include "harness/time_limits.h"
#include "pages.h"
#include "terminal.h"

#include <algorithm>
#include <arpa/inet.h>
#include <atomic>
#include <cstring>
#include <future>
#include <map>
#include <memory>
#include <optional>
#include <regex>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

namespace {

/// A port of four digits that nobody listens on, and that no other test takes meanwhile.
class ReservedPort {
public:
    ReservedPort() {
        for (int tries = 0; tries < 1000 && number_ == 0; ++tries) try_port(next());
        if (number_ == 0) throw std::runtime_error("no port is free");
    }
    std::string text() const { return std::to_string(number_); }

private:
    static int next() {
        static std::atomic<int> count = getpid(); // below those that the kernel hands out
        return 2000 + ++count % 8000;
    }

    void try_port(int port) {
        Descriptor lock{checked(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket")};
        sockaddr_un name{}; // abstract: it is gone with the descriptor (unix(7))
        name.sun_family = AF_UNIX;
        std::snprintf(name.sun_path + 1, sizeof name.sun_path - 1, "docs_test port %d", port);
        if (bind(lock.number(), reinterpret_cast<sockaddr*>(&name), sizeof name) != 0) return;
        const Descriptor probe{checked(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket")};
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_port = htons(static_cast<std::uint16_t>(port));
        if (bind(probe.number(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0)
            return;
        lock_ = std::move(lock);
        number_ = port;
    }

    Descriptor lock_;
    int number_ = 0;
};

std::string replaced(std::string text, const std::string& what, const std::string& by) {
    for (auto at = text.find(what); at != std::string::npos; at = text.find(what, at + by.size()))
        text.replace(at, what.size(), by);
    return text;
}

/// A command with the programs that the tour would start in place of the tour: it would build them
/// first, and they are built. (A page leaves out what the tour itself says.) The bare programs
/// stand in the folder of the others; what they print comes line by line, as on a terminal.
std::string with_programs(std::string command) {
    for (const Stage& stage : all_stages()) {
        const auto number = stage.name.substr(0, 2), server = "build/bin/" + stage.name;
        command =
            replaced(command, "./tour run " + number + " --bare", "stdbuf -oL " + server + "_bare");
        command = replaced(command, "./tour run " + number, server);
        command = replaced(command, "build/bare/" + stage.name, server + "_bare");
    }
    return command;
}

/// Between what a page says and what is run: the folder of the programs, and the ports.
class Translation {
public:
    std::string to_run(const std::string& command) const {
        static const std::regex server{
            R"((build/bin/[01][0-9]_(?:(?!_bare)[a-z_])+\b)(?![^\n]*--(port|help)))"},
            bare{R"((build/bin/[01][0-9]_[a-z_]+_bare)(?! +[0-9]{4}))"};
        auto text = std::regex_replace(with_programs(command), bare, "$1 8080");
        text = std::regex_replace(text, server, "$1 --port 8080");
        text = replaced(replaced(text, "8080", first_.text()), "8081", second_.text());
        return replaced(text, "build/bin/", std::string{STAGE_BIN_DIR} + '/');
    }
    std::string to_show(const std::string& output) const {
        const auto text = replaced(output, std::string{STAGE_BIN_DIR} + '/', "build/bin/");
        return replaced(replaced(text, first_.text(), "8080"), second_.text(), "8081");
    }

    /// Whether some program listens on one of the two ports.
    bool is_listened_on() const {
        const auto all = listeners();
        return std::any_of(all.begin(), all.end(), [this](const Listener& listener) {
            const auto port = std::to_string(listener.address.port);
            return port == first_.text() || port == second_.text();
        });
    }

private:
    ReservedPort first_;
    ReservedPort second_;
};

/// A line in the form that is compared: white space folded, and what strace writes differently from
/// version to version written as Debian 12's does.
std::string one_form(std::string text) {
    // The data of an event: data={u32=5, u64=5} up to strace 6.4, data=0x5 since.
    static const std::regex data{"data=0x([0-9a-f]+)"};
    std::smatch found;
    while (std::regex_search(text, found, data)) {
        const auto value = std::stoull(found[1], nullptr, 16);
        const auto low = std::to_string(static_cast<std::uint32_t>(value));
        text = found.prefix().str() + "data={u32=" + low + ", u64=" + std::to_string(value) + '}' +
               found.suffix().str();
    }
    static const std::regex space{R"(\s+)"}, ends{"^ | $"};
    return std::regex_replace(std::regex_replace(text, space, " "), ends, "");
}

/// Some commands compile a program, beside everything else that runs.
constexpr auto longest_command = 60s;

/// A command of a block and what the page says of it.
struct Step {
    std::string terminal;
    std::size_t line; ///< of the first line of output on the page
    std::string command;
    std::vector<std::string> output; ///< with the line ^C
    std::vector<std::regex> varies;
    bool waits = false; ///< a server that ends by itself, once another terminal has been its client

    bool is_server() const {
        return with_programs(command).find("build/bin/0") != std::string::npos;
    }
    bool ends_with_ctrl_c() const {
        return std::find(output.begin(), output.end(), "^C") != output.end();
    }
    bool held() const { return waits || ends_with_ctrl_c(); }
    std::vector<std::string> printed() const {
        auto lines = output;
        std::erase(lines, "^C");
        return lines;
    }
    bool same(const std::vector<std::string>& seen) const {
        const auto lines = printed();
        return std::equal(
            lines.begin(), lines.end(), seen.begin(), seen.end(),
            [this](const auto& a, const auto& b) { return levelled(a) == levelled(b); });
    }
    std::string levelled(std::string text) const {
        text = one_form(text);
        for (const auto& each : varies) text = std::regex_replace(text, each, "~");
        return text;
    }
};

void add_steps(std::vector<Step>& steps, const Fence& fence,
               const std::vector<std::regex>& varies) {
    const auto terminal = fence.words.size() > 1 ? fence.words[1] : "first";
    for (std::size_t i = 0; i < fence.lines.size(); ++i) {
        const auto& line = fence.lines[i];
        const auto after = fence.line + 2 + i;
        const bool fresh = steps.empty() || steps.back().line <= fence.line;
        if (line.starts_with("$ ")) steps.push_back({terminal, after, line.substr(2), {}, varies});
        else if (fresh) ADD_FAILURE() << "line " << after - 1 << ": a block starts with $";
        else if (line.starts_with("> ") && steps.back().output.empty()) {
            steps.back().command += '\n' + line.substr(2);
            steps.back().line = after;
        } else steps.back().output.push_back(line);
    }
}

/// Whether what this block shows is in the build that is under test.
bool fits_build(const Page& page, const Fence& fence) {
    if (HARDENED) return true;
    const auto comments = page.comments("build:");
    return std::none_of(comments.begin(), comments.end(), [&](const Place& comment) {
        return comment.text == "hardened" && comment.line + 1 == fence.line;
    });
}

std::vector<Step> steps_of(const Page& page) {
    std::vector<Step> steps;
    std::vector<std::regex> varies;
    const auto comments = page.comments("varies:");
    auto comment = comments.begin();
    for (const Fence& fence : page.fences) {
        for (; comment != comments.end() && comment->line < fence.line; ++comment)
            varies.emplace_back(comment->text);
        if (fence.is("console") && fits_build(page, fence)) add_steps(steps, fence, varies);
    }
    for (std::size_t i = 0; i + 1 < steps.size(); ++i)
        steps[i].waits = !steps[i].ends_with_ctrl_c() && steps[i].is_server() &&
                         steps[i].terminal != steps[i + 1].terminal;
    return steps;
}

/// Whether strace may trace here: a container can forbid it.
bool tracing_works() { return run_command({"strace", "-o", "/dev/null", "true"}).exit_code == 0; }

/// What a page says a command prints, and what it printed.
struct Mismatch {
    Step step;
    std::vector<std::string> printed;
    std::string what;
};

/// One run of a page, in its terminals.
class Session {
public:
    void run(const Step& step) {
        end_held(step.terminal);
        auto& terminal = terminals_[step.terminal];
        if (!terminal) terminal = std::make_unique<Terminal>();
        terminal->type(translation_.to_run(step.command));
        if (step.held()) {
            held_[step.terminal] = step;
            await_start(step);
        } else {
            const bool ended = terminal->await_end(longest_command);
            compare(step, ended ? "prints otherwise" : "does not end");
        }
    }

    void end() {
        while (!held_.empty()) end_held(held_.begin()->first);
    }

    const std::vector<Mismatch>& mismatches() const { return mismatches_; }

private:
    /// What a reader sees: a line's end on the screen is the same with a "\r" and without.
    std::vector<std::string> seen(const Step& step) {
        const auto text = translation_.to_show(terminals_[step.terminal]->output());
        return lines_of(replaced(text, "\r\n", "\n"));
    }

    /// A server has started when it listens, and any other program when it has printed something.
    void await_start(const Step& step) {
        auto& terminal = *terminals_[step.terminal];
        const bool silent = step.output.empty() || step.output.front() == "^C";
        eventually([&] {
            if (terminal.finished()) return true;
            return step.is_server() ? translation_.is_listened_on() : silent || !seen(step).empty();
        });
    }

    void end_held(const std::string& name) {
        const auto held = held_.extract(name); // and with it its key, which `name` may be
        if (held.empty()) return;
        const Step& step = held.mapped();
        if (!step.ends_with_ctrl_c()) {
            const bool ended = terminals_[name]->await_end(longest_command);
            compare(step, ended ? "prints otherwise" : "does not end by itself");
            return;
        }
        const auto mark = std::find(step.output.begin(), step.output.end(), "^C");
        const auto before = static_cast<std::size_t>(mark - step.output.begin());
        eventually([&] { return seen(step).size() >= before || terminals_[name]->finished(); }, 5s);
        terminals_[name]->press_ctrl_c();
        const bool ended = terminals_[name]->await_end(patience);
        compare(step, ended ? "prints otherwise" : "does not end with Ctrl-C");
    }

    void compare(const Step& step, const std::string& what) {
        auto now = seen(step);
        if (step.same(now) && what == "prints otherwise") return;
        const auto before = step.printed();
        for (auto& line : now) { // what only varies is left as it is written
            const auto old = std::find_if(before.begin(), before.end(), [&](const auto& text) {
                return step.levelled(text) == step.levelled(line);
            });
            if (old != before.end()) line = *old;
        }
        const auto mark = std::find(step.output.begin(), step.output.end(), "^C");
        const auto after = std::min<std::ptrdiff_t>(step.output.end() - mark, std::ssize(now) + 1);
        if (step.ends_with_ctrl_c()) now.insert(now.end() - (after - 1), "^C");
        mismatches_.push_back({step, now, what});
    }

    Translation translation_;
    std::map<std::string, std::unique_ptr<Terminal>> terminals_;
    std::map<std::string, Step> held_; ///< by terminal, what runs there until ^C
    std::vector<Mismatch> mismatches_;
};

/// What a page said wrongly.
struct PageRun {
    Page page;
    std::vector<Mismatch> mismatches;
};

// A reader's hands are slow: between two commands a server has long done its part. Here one command
// follows the other at once, with no more than the pauses that a page types itself, and on a busy
// machine these can be too short. So a page that does not come out right is typed twice more; what
// has really drifted stays wrong.
PageRun run_page(const std::filesystem::path& file) {
    PageRun result{read_page(file), {}};
    const auto steps = steps_of(result.page);
    for (int tries = 0; tries < 3; ++tries) {
        Session session;
        for (const Step& step : steps) session.run(step);
        session.end();
        result.mismatches = session.mismatches();
        if (result.mismatches.empty()) break;
    }
    return result;
}

bool traces(const std::filesystem::path& file) {
    const auto steps = steps_of(read_page(file));
    return std::any_of(steps.begin(), steps.end(),
                       [](const Step& step) { return step.command.starts_with("strace "); });
}

// What differs only in how a version lays it out is the same; every other difference is one.
TEST(DocsConsoleForms, LayoutDoesNotCountAndContentDoes) {
    EXPECT_EQ(one_form("ESTAB  0   127.0.0.1:8080  "), one_form("ESTAB 0 127.0.0.1:8080"));
    EXPECT_NE(one_form("ESTAB 0 127.0.0.1:8080"), one_form("ESTAB 1 127.0.0.1:8080"));
    EXPECT_EQ(one_form("[{events=EPOLLIN, data=0xb}], 256"),
              one_form("[{events=EPOLLIN, data={u32=11, u64=11}}], 256"));
    EXPECT_NE(one_form("data=0x5"), one_form("data={u32=7, u64=7}"));
    EXPECT_NE(one_form("data=0x5"), one_form("data={u32=5, u64=4294967301}"));
    EXPECT_NE(one_form("accept4(5, NULL) = 7"), one_form("accept4(5, NULL) = 8"));
}

// All pages at the same time, each in its own terminals: what they do most is wait.
TEST(DocsConsole, PagesPrintWhatTheySay) {
    const bool tracing = tracing_works();
    std::vector<std::future<PageRun>> runs;
    std::string left_out;
    for (const auto& file : page_files()) {
        if (file.string().find(only_page()) == std::string::npos) continue;
        if (!tracing && traces(file)) left_out += ' ' + file.filename().string();
        else runs.push_back(std::async(std::launch::async, run_page, file));
    }
    EXPECT_FALSE(runs.empty());
    for (auto& run : runs) {
        const auto [page, mismatches] = run.get();
        for (const auto& [step, printed, what] : mismatches) {
            expect_lines(page, step.line, step.output, printed, "'" + step.command + "' " + what);
            if (step.output == printed)
                ADD_FAILURE_AT(page.file.c_str(), static_cast<int>(step.line))
                    << "'" << step.command << "' " << what;
        }
    }
    if (!left_out.empty()) GTEST_SKIP() << "strace may not trace here; not run:" << left_out;
}

} // namespace
