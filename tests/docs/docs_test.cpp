// The docs hold what they say: code and differences are those of the sources, what is mentioned
// exists, links lead somewhere, and figures are those that were measured. Each page is a test.

#include "harness/child_process.h"
#include "harness/stages.h"
#include "harness/support.h"
#include "pages.h"
#include "source/source_text.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <regex>
#include <set>

namespace fs = std::filesystem;

namespace {

const fs::path root{SOURCE_DIR};

class Docs : public PageTest {};

INSTANTIATE_TEST_SUITE_P(, Docs, testing::ValuesIn(page_files()), page_name);
INSTANTIATE_TEST_SUITE_P(Exercises, Docs, testing::ValuesIn(exercise_files()), page_name);

/// Whether `part` stands in `whole` as lines that follow each other.
bool contains(const std::vector<std::string>& whole, const std::vector<std::string>& part) {
    return std::search(whole.begin(), whole.end(), part.begin(), part.end()) != whole.end();
}

/// The longest beginning of `part` that `whole` holds, in lines: where a reader should look.
std::size_t lines_in_common(const std::vector<std::string>& whole,
                            const std::vector<std::string>& part) {
    std::size_t best = 0;
    for (auto start = whole.begin(); start != whole.end(); ++start) {
        const auto end = std::mismatch(start, whole.end(), part.begin(), part.end()).second;
        best = std::max(best, static_cast<std::size_t>(end - part.begin()));
    }
    return best;
}

TEST_P(Docs, FencesAreOfKnownKinds) {
    const std::set<std::string> checked{"cpp", "diff", "console", "ini", "sh", "text"};
    std::size_t marks = 0;
    for (const auto& line : page.lines) marks += line.starts_with("```") ? 1U : 0U;
    EXPECT_EQ(marks % 2, 0U) << page.file << ": a ``` is never closed";
    for (const Fence& fence : page.fences) {
        if (fence.words.empty() || !checked.contains(fence.words.front()))
            fail_at(fence.line,
                    "a block that nothing checks: cpp, diff, console, ini and sh are known");
        else if (fence.is("text") && (fence.words.size() != 2 || fence.words[1] != "comparison"))
            fail_at(fence.line, "text is for the comparison only");
        if (fence.lines.empty()) fail_at(fence.line, "an empty block");
    }
}

TEST_P(Docs, CodeStandsInItsFile) {
    for (const Fence& fence : page.fences) {
        if (!fence.is("cpp") && !fence.is("ini")) continue;
        if (fence.words.size() != 2) {
            fail_at(fence.line, "which file is it from? `cpp FILE`, or `cpp sketch` for none");
            continue;
        }
        const fs::path file = root / fence.words[1];
        if (fence.words[1] == "sketch") continue;
        const auto whole = lines_of(read_file(file));
        if (contains(whole, fence.lines)) continue;
        const auto good = lines_in_common(whole, fence.lines);
        fail_at(fence.line + 1 + good, fence.words[1] + " does not go on so:\n" +
                                           fence.lines[std::min(good, fence.lines.size() - 1)]);
    }
}

/// The lines of a block between its lines "@@".
std::vector<std::vector<std::string>> parts_of(const Fence& fence) {
    std::vector<std::vector<std::string>> parts(1);
    for (const auto& line : fence.lines) {
        if (line == "@@") parts.emplace_back();
        else parts.back().push_back(line);
    }
    return parts;
}

/// The lines of a difference: of `diff OLD NEW`, without the file names; of `diff PATCH`, the
/// patch. Empty if there is none.
std::vector<std::string> difference_named_by(const Fence& fence) {
    if (fence.words.size() == 2) return lines_of(read_file(root / fence.words[1]));
    if (fence.words.size() != 3) return {};
    const auto diff =
        run_command({"diff", "-U100000", root / fence.words[1], root / fence.words[2]});
    auto lines = lines_of(diff.out);
    if (diff.exit_code == 1) lines.erase(lines.begin(), lines.begin() + 3); // names, and one @@
    return diff.exit_code == 1 ? lines : std::vector<std::string>{};
}

TEST_P(Docs, DifferencesAreTrue) {
    for (const Fence& fence : page.fences) {
        if (!fence.is("diff")) continue;
        const auto whole = difference_named_by(fence);
        if (whole.empty()) {
            fail_at(fence.line, "the difference of what? `diff OLD NEW` or `diff PATCH`");
            continue;
        }
        std::size_t line = fence.line + 1;
        for (const auto& part : parts_of(fence)) {
            const bool changes = std::any_of(part.begin(), part.end(), [](const auto& text) {
                return text.starts_with('+') || text.starts_with('-');
            });
            if (!changes) fail_at(line, "this part of the difference shows no change");
            const auto good = lines_in_common(whole, part);
            if (good < part.size())
                fail_at(line + good, "the difference does not go on so:\n" + part[good]);
            line += part.size() + 1;
        }
    }
}

/// The tests that a source defines, as "Suite.Test".
std::set<std::string> known_tests() {
    static const std::regex definition{R"(^TEST(?:_P|_F)?\((\w+), (\w+)\))"};
    std::set<std::string> names;
    for (const auto& entry : fs::recursive_directory_iterator(root / "tests")) {
        if (entry.path().extension() != ".cpp") continue;
        for (const auto& line : lines_of(read_file(entry.path()))) {
            std::smatch match;
            if (std::regex_search(line, match, definition))
                names.insert(match[1].str() + '.' + match[2].str());
        }
    }
    return names;
}

TEST_P(Docs, TestsThatAreMentionedExist) {
    static const std::regex mention{R"(([A-Z]\w+\.[A-Z]\w+)(/\w+)?)"};
    static const auto tests = known_tests();
    ASSERT_GT(tests.size(), 100U);
    for (const auto& [line, text] : page.code_spans()) {
        std::smatch match;
        if (std::regex_match(text, match, mention) && !tests.contains(match[1]))
            fail_at(line, "there is no test " + text);
    }
}

/// Whether a source defines `name`: a C++ one, a Python one or a shell script.
bool defines(const fs::path& file, const std::string& name) {
    const auto text = read_file(file);
    const auto extension = file.extension();
    if (extension == ".cpp" || extension == ".h") return definitions_in(text).contains(name);
    const std::string start = extension == ".py" ? "def " : "";
    return ('\n' + text).find('\n' + start + name + '(') != std::string::npos;
}

TEST_P(Docs, FunctionsThatAreMentionedExist) {
    static const std::regex mention{R"(([\w./]+):([A-Za-z_~][\w:~]*))"};
    for (const auto& [line, text] : page.code_spans()) {
        std::smatch match;
        if (!std::regex_match(text, match, mention)) continue;
        const std::string name = match[1];
        if (name != "tour" && fs::path{name}.extension().empty()) continue; // std::string
        const bool is_common = name == "common.h" || name == "console.h";
        const auto file = root / (is_common ? "01_blocking_single" : "") / name;
        if (!fs::exists(file)) fail_at(line, "there is no file " + name);
        else if (!defines(file, match[2])) fail_at(line, name + " has no " + match[2].str());
    }
}

/// The stage whose name starts with `word`, "06" or longer.
std::string stage_called(const std::string& word) {
    for (const Stage& stage : all_stages())
        if (stage.name.starts_with(word)) return stage.name;
    return "";
}

/// All sources in one text: of the stages, the tests, the bench and the tour.
const std::string& all_sources() {
    static const std::string sources = [] {
        std::string text = read_file(root / "tour");
        for (const auto& entry : fs::recursive_directory_iterator(root)) {
            const auto folder = fs::relative(entry.path(), root).begin()->string();
            const bool ours = folder == "tests" || folder == "bench" || folder == "beyond" ||
                              !stage_called(folder).empty();
            const auto extension = entry.path().extension();
            if (ours && (extension == ".cpp" || extension == ".h" || extension == ".py" ||
                         extension == ".bash"))
                text += read_file(entry.path());
        }
        return text;
    }();
    return sources;
}

/// Calls that none of our programs makes, and that the pages speak of: the kernel's own functions,
/// how strace calls some of ours, and what else a program could have called.
const std::set<std::string> calls_of_others{"clone3",       "do_poll",        "do_select",
                                            "do_sys_poll",  "ep_insert",      "ep_poll_callback",
                                            "epoll_pwait2", "exec",           "getaddrinfo",
                                            "kqueue",       "ep_send_events", "ntohl",
                                            "recvfrom",     "loop.readable",  "request.decode",
                                            "sendto",       "sigaction",      "signalfd",
                                            "terminate",    "timerfd_create", "writev"};

// `recv()`, `Server::admit()`, `next.begin()`: somebody calls it.
TEST_P(Docs, CallsThatAreMentionedAreMade) {
    static const std::regex mention{R"((?:\w+::)*((?:\w+(?:\.|->))?~?[A-Za-z_]\w*)\([^()]*\))"};
    ASSERT_GT(all_sources().size(), 100'000U);
    for (const auto& [line, text] : page.code_spans()) {
        std::smatch match;
        if (!std::regex_match(text, match, mention) || calls_of_others.contains(match[1])) continue;
        const std::regex call{"(^|[^A-Za-z0-9_])" +
                              std::regex_replace(match[1].str(), std::regex{R"(\.)"}, "\\.") +
                              "\\("};
        if (!std::regex_search(all_sources(), call)) fail_at(line, "nobody calls " + text);
    }
}

TEST_P(Docs, LinksLeadSomewhere) {
    for (const auto& [line, target] : page.links()) {
        if (target.starts_with("http://") || target.starts_with("https://")) continue;
        const auto hash = target.find('#');
        const auto name = target.substr(0, hash);
        const auto file = name.empty() ? page.file : page.file.parent_path() / name;
        if (!fs::exists(file)) fail_at(line, "there is no " + name);
        else if (hash != std::string::npos &&
                 !read_page(file).anchors().contains(target.substr(hash + 1)))
            fail_at(line, "there is no heading " + target);
    }
}

/// The --options in the help of a stage, or of the tour.
const std::set<std::string>& options_of(const std::string& program) {
    static std::map<std::string, std::set<std::string>> known;
    auto& options = known[program];
    if (!options.empty()) return options;
    static const std::regex option{R"(--[a-z][a-z-]*)"};
    const auto help =
        run_command({std::string{STAGE_BIN_DIR} + '/' + program, "--help"}).out + "--help";
    for (std::sregex_iterator match(help.begin(), help.end(), option), end; match != end; ++match)
        options.insert(match->str());
    return options;
}

/// What is wrong with the options given to a stage in this command; "" if nothing.
std::string wrong_option(const std::string& command) {
    if (command.find("tour break") != std::string::npos) return ""; // a mistake has a number, too
    static const std::regex call{R"((0[1-9]_[a-z_]+|tour run (\d\d))((?: +[^\s|;&#)<>]+)*))"};
    static const std::regex option{R"( (--[a-z][a-z-]*))"};
    for (std::sregex_iterator found(command.begin(), command.end(), call), end; found != end;
         ++found) {
        const auto stage = stage_called((*found)[2].matched ? (*found)[2] : (*found)[1]);
        if (stage.empty()) return "there is no stage " + found->str();
        const std::string given = (*found)[3];
        // The tour's own option: it runs the bare program, whose one argument is a port.
        if ((*found)[2].matched && std::regex_search(given, std::regex{"^ --bare(?! +--)"}))
            continue;
        for (std::sregex_iterator each(given.begin(), given.end(), option); each != end; ++each)
            if (!options_of(stage).contains((*each)[1]))
                return stage + " has no option " + (*each)[1].str();
    }
    return "";
}

/// What is wrong with a call of the tour: a command or a mistake that there is not; "" if nothing.
std::string wrong_tour(const std::string& command) {
    static const std::regex mistake{R"(\./tour break ([0-9]\w+))"};
    std::smatch match;
    if (std::regex_search(command, match, mistake) &&
        !fs::exists(root / "tests/mistakes" / (match[1].str() + ".patch")))
        return "there is no mistake " + match[1].str();
    static const std::string help = run_command({root / "tour", "help"}).out;
    static const std::regex call{R"(\./tour ([a-z]+))"};
    for (std::sregex_iterator found(command.begin(), command.end(), call), end; found != end;
         ++found)
        if (help.find("./tour " + (*found)[1].str()) == std::string::npos)
            return "the tour has no command " + (*found)[1].str();
    return "";
}

TEST_P(Docs, OptionsExist) {
    auto commands = page.code_spans();
    for (const Fence& fence : page.fences) {
        if (!fence.is("console") && !fence.is("sh")) continue;
        for (std::size_t i = 0; i < fence.lines.size(); ++i)
            if (fence.is("sh") || fence.lines[i].starts_with("$ "))
                commands.push_back({fence.line + 1 + i, fence.lines[i]});
    }
    for (const auto& [line, command] : commands) {
        for (const auto& wrong : {wrong_option(command), wrong_tour(command)})
            if (!wrong.empty()) fail_at(line, wrong + ": " + command);
    }
}

// ---- What was measured ------------------------------------------------------------------------

std::vector<std::string> split(const std::string& text, const std::string& mark) {
    std::vector<std::string> parts;
    for (std::size_t start = 0; start <= text.size();) {
        const auto end = std::min(text.find(mark, start), text.size());
        const auto piece = text.substr(start, end - start);
        const auto first = std::min(piece.find_first_not_of(' '), piece.size());
        parts.push_back(piece.substr(first, piece.find_last_not_of(' ') + 1 - first));
        start = end + mark.size();
    }
    return parts;
}

/// "idle | 10000 | 05_poll": of bench/results/idle.json, in the row that starts so, that column.
std::optional<double> measured(const std::string& reference) {
    const auto parts = split(reference, "|");
    if (parts.size() != 3) return {};
    const auto text = read_file(root / "bench/results" / (parts[0] + ".json"));
    const auto data = nlohmann::json::parse(text, nullptr, false);
    if (data.is_discarded()) return {};
    const auto& columns = data["columns"];
    const auto column = std::find(columns.begin(), columns.end(), parts[2]) - columns.begin();
    for (const auto& row : data["rows"]) {
        const auto name = row[0].is_string() ? row[0].get<std::string>() : row[0].dump();
        if (name == parts[1] && column < static_cast<std::ptrdiff_t>(row.size()) &&
            row[static_cast<std::size_t>(column)].is_number())
            return row[static_cast<std::size_t>(column)].get<double>();
    }
    return {};
}

/// The same, or a quotient of two: "A / B".
std::optional<double> measured_or_quotient(const std::string& reference) {
    const auto parts = split(reference, " / ");
    const auto value = measured(parts[0]);
    if (parts.size() == 1 || !value) return value;
    const auto divisor = measured(parts[1]);
    if (!divisor || *divisor == 0) return {};
    return *value / *divisor;
}

/// `value` rounded as the number `shown` is: to so many decimals, or where it ends in zeros, to so
/// many of its digits.
std::string rounded_like(const std::string& shown, double value) {
    const auto point = shown.find('.');
    const auto last = shown.find_last_not_of('0');
    const auto zeros = point == std::string::npos ? shown.size() - 1 - last : 0;
    const double unit = std::pow(10.0, static_cast<double>(zeros));
    const auto decimals = point == std::string::npos ? 0 : shown.size() - point - 1;
    char text[64];
    std::snprintf(text, sizeof text, "%.*f", static_cast<int>(decimals),
                  std::round(value / unit * std::pow(10, decimals)) / std::pow(10, decimals) *
                      unit);
    std::string digits = text;
    if (shown.find(',') == std::string::npos) return digits;
    for (auto place = static_cast<std::ptrdiff_t>(std::min(digits.find('.'), digits.size())) - 3;
         place > 0; place -= 3)
        digits.insert(static_cast<std::size_t>(place), ",");
    return digits;
}

TEST_P(Docs, FiguresAreThoseMeasured) {
    static const std::regex quote{R"(([0-9][0-9,]*(?:\.[0-9]+)?)[^0-9]?<!-- bench (.*?) -->)"};
    for (const auto& [line, text] : page.prose) {
        std::string right = text;
        std::size_t shift = 0;
        std::ptrdiff_t seen = 0;
        for (std::sregex_iterator found(text.begin(), text.end(), quote), end; found != end;
             ++found, ++seen) {
            const auto value = measured_or_quotient((*found)[2]);
            if (!value) fail_at(line, "no such figure in bench/results: " + (*found)[2].str());
            if (!value) continue;
            const auto number = rounded_like((*found)[1], *value);
            const auto place = static_cast<std::size_t>(found->position(1)) + shift;
            right.replace(place, static_cast<std::size_t>(found->length(1)), number);
            shift += number.size() - static_cast<std::size_t>(found->length(1));
        }
        static const std::string mark = "<!-- bench ";
        std::ptrdiff_t marks = 0;
        for (auto at = text.find(mark); at != std::string::npos; at = text.find(mark, at + 1))
            ++marks;
        if (marks != seen) fail_at(line, "a figure's comment without a figure just before it");
        expect_lines(page, line, {text}, {right}, "measured otherwise");
    }
}

TEST_P(Docs, IncludedTablesAreThoseMeasured) {
    for (const auto& [line, name] : page.comments("begin")) {
        const auto file = page.file.parent_path() / name;
        auto right = lines_of(read_file(file));
        if (right.size() < 3) {
            fail_at(line, "there is no table " + name);
            continue;
        }
        right.erase(right.begin(), right.begin() + 2); // its heading
        const auto begin = page.lines.begin() + static_cast<std::ptrdiff_t>(line);
        const auto end = std::find(begin, page.lines.end(), "<!-- end -->");
        if (end == page.lines.end()) fail_at(line, "no <!-- end -->");
        else expect_lines(page, line + 1, {begin, end}, right, name + " reads otherwise");
    }
}

// ---- The mistakes -------------------------------------------------------------------------------

/// The words under a name in the head of a patch.
std::vector<std::string> field_of(const std::vector<std::string>& patch, const std::string& name) {
    for (const auto& line : patch)
        if (line.starts_with(name + ": ")) return words_of(line.substr(name.size() + 2));
    return {};
}

/// Whether each part of the patch finds its lines in the file that it changes.
bool applies(const std::vector<std::string>& patch) {
    std::vector<std::string> file, part;
    std::size_t parts = 0;
    const auto found = [&] { return part.empty() || contains(file, part); };
    for (const auto& line : patch) {
        const bool heading = line.starts_with("--- a/") || line.starts_with("@@ ");
        if (heading && !found()) return false;
        if (heading) part.clear();
        if (line.starts_with("--- a/")) file = lines_of(read_file(root / line.substr(6)));
        else if (line.starts_with("@@ ")) ++parts;
        else if (parts > 0 && !line.starts_with('+')) part.push_back(line.substr(1));
    }
    return parts > 0 && found();
}

// That the tests notice is tried by `./tour break --all`; here, that no patch is left behind when
// the stage it belongs to changes, or the test, or the page.
TEST(DocsMistakes, FitTheirStagesTestsAndPage) {
    const auto tests = known_tests();
    const auto page = read_file(root / "docs/reference/mistakes.md");
    std::size_t count = 0;
    for (const auto& entry : fs::directory_iterator(root / "tests/mistakes")) {
        if (entry.path().extension() != ".patch") continue;
        ++count;
        const auto name = entry.path().filename().string();
        const auto patch = lines_of(read_file(entry.path()));
        EXPECT_TRUE(applies(patch)) << name;
        for (const char* field : {"Mistake", "Stage", "Build", "Symptom", "Caught-by", "See"})
            EXPECT_FALSE(field_of(patch, field).empty()) << name << " has no " << field;
        for (const auto& test : field_of(patch, "Caught-by"))
            EXPECT_TRUE(tests.contains(test)) << name << " names " << test;
        EXPECT_NE(page.find("```diff tests/mistakes/" + name), std::string::npos) << name;
    }
    EXPECT_GE(count, 30U);
}

// ---- What a lesson has to have ------------------------------------------------------------

/// The paragraphs of a page outside of its blocks of code, tables, pictures, comments and folded
/// answers: what one reads from the first line to the last. A heading is one, too.
std::vector<Place> running_text(const Page& page) {
    static const std::regex comment{"<!--.*?-->"};
    std::vector<Place> paragraphs;
    bool folded = false;
    std::size_t last = 0;
    for (const auto& [line, written] : page.prose) {
        const auto text = std::regex_replace(written, comment, "");
        folded = folded || text.starts_with("<details>");
        const bool left_out = folded || text.starts_with("|") || text.starts_with("![");
        if (!left_out && !text.empty()) {
            const bool begins = paragraphs.empty() || line != last + 1 || text.starts_with("- ");
            if (begins) paragraphs.push_back({line, text});
            else paragraphs.back().text += ' ' + text;
            last = line;
        }
        if (text.find("</details>") != std::string::npos) folded = false;
    }
    return paragraphs;
}

/// The number of words: what a link leads to, and the marks of emphasis, are none.
std::size_t count_words(const std::vector<Place>& paragraphs, std::size_t before_line) {
    static const std::regex target{R"(\]\([^)]*\))"}, word{R"([A-Za-z0-9][^\s]*)"};
    std::size_t count = 0;
    for (const auto& [line, text] : paragraphs) {
        if (line >= before_line) break;
        const auto shown = std::regex_replace(text, target, "]");
        count += static_cast<std::size_t>(
            std::distance(std::sregex_iterator(shown.begin(), shown.end(), word), {}));
    }
    return count;
}

Page chapter_of(const Stage& stage) { return read_page(root / "docs" / (stage.name + ".md")); }

class DocsChapter : public testing::TestWithParam<Stage> {
protected:
    const Page page = chapter_of(GetParam());
};

INSTANTIATE_TEST_SUITE_P(, DocsChapter, testing::ValuesIn(all_stages()), stage_name);

TEST_P(DocsChapter, HasItsParts) {
    const std::vector<std::string> parts{"Run it",    "Read it",       "What the kernel sees",
                                         "Break it",  "What it takes", "Its limit",
                                         "Questions", "Exercises"};
    const auto headings = page.headings();
    std::vector<std::string> found;
    std::copy_if(headings.begin(), headings.end(), std::back_inserter(found), [&](const auto& h) {
        return std::find(parts.begin(), parts.end(), h) != parts.end();
    });
    EXPECT_EQ(found, parts);
    std::map<std::string, int> blocks;
    for (const Fence& fence : page.fences) ++blocks[fence.words.empty() ? "" : fence.words[0]];
    EXPECT_GE(blocks["cpp"], 2);
    EXPECT_GE(blocks["console"], 4);
    const auto folded = std::count_if(page.prose.begin(), page.prose.end(), [](const auto& p) {
        return p.text.starts_with("<details>");
    });
    EXPECT_GE(folded, 8); // 4 to 6 questions, two exercises with a hint and an answer each
}

// One sitting, with the code beside it.
TEST_P(DocsChapter, IsShort) {
    EXPECT_LE(count_words(running_text(page), page.lines.size() + 1), 2500U);
}

TEST_P(DocsChapter, AnswersBeforeItExplains) {
    const auto answer = std::find_if(page.fences.begin(), page.fences.end(), [](const Fence& f) {
        const auto& lines = f.lines;
        return f.is("console") && std::any_of(lines.begin(), lines.end(), [](const auto& line) {
                   return line.starts_with("Hello, world!");
               });
    });
    ASSERT_NE(answer, page.fences.end()) << "no block prints Hello, world!";
    EXPECT_LE(count_words(running_text(page), answer->line), 300U);
}

// A reader does not meet the names of tests in the middle of a sentence.
TEST_P(DocsChapter, TestsStandInALineOfTheirOwn) {
    static const std::regex test{R"(`([A-Z]\w+\.[A-Z]\w+)`)"};
    static const auto tests = known_tests();
    for (const auto& [line, text] : running_text(page)) {
        if (text.starts_with("*Tested by ")) continue;
        for (std::sregex_iterator each(text.begin(), text.end(), test), end; each != end; ++each)
            if (tests.contains((*each)[1]))
                ADD_FAILURE_AT(page.file.c_str(), static_cast<int>(line)) << each->str();
    }
}

TEST(DocsPath, IsReadInAnAfternoon) {
    std::size_t words = 0;
    for (const Stage& stage : stages_of_path()) {
        const auto page = chapter_of(stage);
        words += count_words(running_text(page), page.lines.size() + 1);
    }
    EXPECT_LE(words, 17'000U);
}

/// The files that a page has links to.
void add_linked_files(const fs::path& file, std::set<fs::path>& linked) {
    for (const auto& [line, target] : read_page(file).links()) {
        const auto name = target.substr(0, target.find('#'));
        linked.insert((file.parent_path() / name).lexically_normal());
    }
}

TEST(DocsIndex, LeadsToEveryPage) {
    std::set<fs::path> linked;
    add_linked_files(root / "docs/README.md", linked);
    for (const auto& file : page_files()) {
        if (file.filename() != "README.md") {
            EXPECT_TRUE(linked.contains(file)) << "docs/README.md has no link to " << file;
        }
    }
}

// A reader of the lessons comes to know each page of the reference.
TEST(DocsPath, LeadsToTheReference) {
    std::set<fs::path> linked;
    for (const Stage& stage : all_stages())
        add_linked_files(root / "docs" / (stage.name + ".md"), linked);
    for (const auto& file : page_files()) {
        if (file.parent_path().filename() == "reference") {
            EXPECT_TRUE(linked.contains(file)) << "no lesson has a link to " << file;
        }
    }
}

// A reader who knows only a concept finds the page.
TEST(DocsIndex, OfConceptsLeadsToTheReference) {
    std::set<fs::path> linked;
    add_linked_files(root / "docs/reference/concepts.md", linked);
    for (const auto& file : page_files()) {
        if (file.parent_path().filename() == "reference" && file.filename() != "concepts.md") {
            EXPECT_TRUE(linked.contains(file)) << "concepts.md has no link to " << file;
        }
    }
}

/// The sections of a page that begin with "### ", and all that is prose in each.
std::vector<std::pair<std::string, std::string>> entries_of(const Page& page) {
    std::vector<std::pair<std::string, std::string>> entries;
    for (const auto& [line, text] : page.prose) {
        if (text.starts_with("### ")) entries.emplace_back(text.substr(4), "");
        else if (text.starts_with("## ")) entries.emplace_back("", "");
        else if (!entries.empty()) entries.back().second += text + '\n';
    }
    std::erase_if(entries, [](const auto& entry) { return entry.first.empty(); });
    return entries;
}

// Each symptom has a cause, a cure, a page to read, and something that shows it.
TEST(DocsSymptoms, EachHasItsParts) {
    const auto page = read_page(root / "docs/reference/symptoms.md");
    const auto entries = entries_of(page);
    EXPECT_GE(entries.size(), 50U);
    for (const auto& [symptom, text] : entries)
        for (const char* part : {"**Cause.** ", "**Cure.** ", "**Read** [", "**Shown by** "})
            EXPECT_NE(text.find(part), std::string::npos) << symptom << ": no " << part;
}

/// Whether a block is run below this heading, before the next one of its level.
bool runs_in_section(const Page& page, const std::string& anchor) {
    const auto lines = page.section(anchor);
    return std::any_of(page.fences.begin(), page.fences.end(), [&](const Fence& fence) {
        return fence.is("console") && fence.line > lines.first && fence.line < lines.second;
    });
}

// What shows a symptom is a test, a command of the tour, or a block that is run on some page.
TEST(DocsSymptoms, AreShownBySomethingThatRuns) {
    static const std::regex test{R"(`([A-Z]\w+\.[A-Z]\w+)`)"}, command{R"(`\./tour [a-z])"},
        block{R"(\]\(([^)#]*)#([^)]+)\))"};
    static const auto tests = known_tests();
    const auto page = read_page(root / "docs/reference/symptoms.md");
    for (const auto& [symptom, text] : entries_of(page)) {
        const auto shown = text.substr(std::min(text.size(), text.find("**Shown by** ")));
        std::smatch match;
        const bool by_test = std::regex_search(shown, match, test) && tests.contains(match[1]);
        const bool by_command = std::regex_search(shown, command);
        // "The block below" is in the same entry.
        bool by_block = shown.find("block below") != std::string::npos &&
                        runs_in_section(page, anchor_of(symptom));
        if (!by_block && std::regex_search(shown, match, block)) {
            const auto file =
                match[1].length() == 0 ? page.file : page.file.parent_path() / match[1].str();
            by_block = runs_in_section(read_page(file), match[2]);
        }
        EXPECT_TRUE(by_test || by_command || by_block) << symptom << ": " << shown;
    }
}

} // namespace
