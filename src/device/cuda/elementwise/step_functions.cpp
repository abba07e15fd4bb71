#include "device/cuda/elementwise/step_functions.h"

#include <algorithm>
#include <charconv>

#include "core/index.h"
#include "core/text.h"
#include "device/cuda/elementwise/float_code.h"

namespace gradgraph::cuda {
namespace {

constexpr std::string_view kName = "run_stepILi";

std::string_view trim(std::string_view line) {
  const std::size_t begin = line.find_first_not_of(" \t");
  return begin == std::string_view::npos ? std::string_view() : line.substr(begin);
}
/// Takes a line off the text.
std::string_view take_line(std::string_view& text) {
  const std::size_t end = std::min(text.find('\n'), text.size());
  const std::string_view line = trim(text.substr(0, end));
  text.remove_prefix(std::min(end + 1, text.size()));
  return line;
}
/// The number behind some words; -1 where they are not there.
int number_behind(std::string_view line, std::string_view words) {
  const std::size_t found = line.find(words);
  int number = -1;
  if (found != std::string_view::npos)
    std::from_chars(line.data() + found + words.size(), line.data() + line.size(), number);
  return number;
}
std::string_view first_operand(std::string_view line) {
  const std::size_t begin = line.find('%'), end = line.find_first_of(",;", begin);
  return line.substr(begin, end - begin);
}
std::string_view last_operand(std::string_view line) {
  const std::size_t begin = line.rfind('%'), end = line.find(';', begin);
  return line.substr(begin, end - begin);
}

/// A body, between its braces: what comes and goes as a parameter is a register, and it ends
/// where it returns. Nothing where it returns in between.
std::string read_body(std::string_view& text) {
  std::string lines = "{\n";
  bool has_returned = false, is_straight = true;
  for (std::string_view line = take_line(text); line != "}" && !text.empty();
       line = take_line(text)) {
    if (line.empty() || line.starts_with("//")) continue;
    is_straight = is_straight && !has_returned;
    if (line == "ret;") {
      has_returned = true;
    } else if (line.starts_with("ld.param")) {
      lines +=
          fmt::format("mov.b32 {}, #{};\n", first_operand(line), number_behind(line, "_param_"));
    } else if (line.starts_with("st.param")) {
      lines += fmt::format("mov.b32 #3, {};\n", last_operand(line));
    } else {
      lines += line;
      lines += '\n';
    }
  }
  return is_straight && has_returned ? lines + "}\n" : std::string();
}

}  // namespace

std::vector<std::string> read_step_functions(std::string_view ptx) {
  std::vector<std::string> functions(at(codes::count(codes::Generated{})));
  while (!ptx.empty()) {
    const std::string_view line = take_line(ptx);
    const int code = line.starts_with(".func") ? number_behind(line, kName) : -1;
    if (code < 0 || at(code) >= functions.size()) continue;
    // A declaration ends before a body would begin.
    std::string_view next = take_line(ptx);
    while (next != "{" && next != ";" && !ptx.empty()) next = take_line(ptx);
    if (next == "{") functions[at(code)] = read_body(ptx);
  }
  return functions;
}

const std::string& step_function(int code) {
  static const std::vector<std::string> functions = read_step_functions(step_functions_ptx());
  return functions[at(code)];
}

}  // namespace gradgraph::cuda
