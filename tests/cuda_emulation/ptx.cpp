#include "cuda_emulation/ptx.h"

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <cstring>
#include <map>
#include <span>
#include <stdexcept>

#include "cuda_emulation/access_check.h"
#include "cuda_emulation/execution.h"
#include "gradgraph/half.h"

namespace cuda_emulation {
namespace {

PtxStep emulated_step = nullptr;

constexpr std::array<std::string_view, 6> kSpecial = {"%tid.x",    "%ntid.x",  "%ctaid.x",
                                                      "%nctaid.x", "%ctaid.y", "%nctaid.y"};
std::uint64_t special_register(int index) {
  switch (index) {
    case 0: return threadIdx.x;
    case 1: return blockDim.x;
    case 2: return blockIdx.x;
    case 3: return gridDim.x;
    case 4: return blockIdx.y;
    default: return gridDim.y;
  }
}

std::string_view trim(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(" \t");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t") + 1 - begin);
}
/// Takes what comes before a separator, which goes too.
std::string_view take(std::string_view& text, std::string_view separators) {
  const std::size_t end = std::min(text.find_first_of(separators), text.size());
  const std::string_view taken = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  return trim(taken);
}
template <class T>
T number_in(std::string_view text) {
  T number{};
  const char* const end = text.data() + text.size();
  if (std::from_chars(text.data(), end, number).ptr != end || text.empty())
    throw std::invalid_argument("a number: " + std::string(text));
  return number;
}
std::vector<std::string_view> split(std::string_view text, std::string_view separators) {
  std::vector<std::string_view> parts;
  while (!text.empty())
    if (const std::string_view part = take(text, separators); !part.empty())
      parts.push_back(part);
  return parts;
}

float as_float(std::uint64_t bits) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits));
}
std::uint64_t bits_of(float value) { return std::bit_cast<std::uint32_t>(value); }

}  // namespace

void set_ptx_step(PtxStep step) { emulated_step = step; }

class PtxKernel::Reader {
 public:
  explicit Reader(PtxKernel& kernel) : kernel_(kernel) {}

  void read(std::string_view text) {
    while (!text.empty()) {
      const std::string_view line = take(text, "\n");
      try {
        read_line(line);
      } catch (const std::invalid_argument& unknown) {
        throw std::invalid_argument(std::string(unknown.what()) + " in: " + std::string(line));
      }
    }
    for (Instruction& instruction : kernel_.instructions_)
      if (instruction.code == Code::branch)
        instruction.target = labels_.at(static_cast<std::size_t>(instruction.target)).place;
  }

 private:
  struct Label {
    std::string name;
    int place = 0;
  };

  void read_line(std::string_view line) {
    if (line.starts_with(".visible .entry")) return read_entry(line);
    if (line.starts_with(".reg")) return declare(line);
    if (line == "{") return void(scopes_.emplace_back());
    if (line == "}") return scopes_.pop_back();
    if (line.empty() || line[0] == '.') return;
    if (line.ends_with(':')) {
      const int number = label(line.substr(0, line.size() - 1));
      labels_[static_cast<std::size_t>(number)].place =
          static_cast<int>(kernel_.instructions_.size());
      return;
    }
    Instruction instruction;
    if (line[0] == '@') {
      instruction.predicate = reg(take(line, " ").substr(1));
      line = trim(line);
    }
    if (!line.ends_with(';')) throw std::invalid_argument("no end");
    line.remove_suffix(1);
    const std::string_view opcode = take(line, " ");
    read_code(instruction, split(opcode, "."));
    read_operands(instruction, line);
    kernel_.instructions_.push_back(std::move(instruction));
  }

  void read_entry(std::string_view line) {
    line.remove_prefix(std::string_view(".visible .entry").size());
    kernel_.name_ = take(line, "(");
    for (const std::string_view parameter : split(line, ",)")) {
      const std::vector<std::string_view> words = split(parameter, " .");
      const std::string_view last = words.back();
      const std::size_t bracket = last.find('[');
      parameters_.emplace_back(last.substr(0, bracket));
      kernel_.parameter_sizes_.push_back(
          bracket == std::string_view::npos
              ? size_of(type_of(words.at(1)))
              : number_in<std::size_t>(last.substr(bracket + 1, last.size() - bracket - 2)));
    }
  }

  /// ".reg .f32 %x, %y<3>;": the scope's own, whatever there is around it.
  void declare(std::string_view line) {
    const std::vector<std::string_view> words = split(line, " \t,;");
    for (const std::string_view word : std::span(words).subspan(2)) {
      const std::size_t bracket = word.find('<');
      const std::string name(word.substr(0, bracket));
      if (bracket == std::string_view::npos) {
        add_register(name);
      } else {
        const int count = number_in<int>(word.substr(bracket + 1, word.size() - bracket - 2));
        for (int i = 0; i < count; ++i) add_register(name + std::to_string(i));
      }
    }
  }
  void add_register(std::string name) {
    scopes_.back()[std::move(name)] = static_cast<int>(kernel_.num_registers_++);
  }

  static Type type_of(std::string_view name) {
    static const std::map<std::string_view, Type> types = {
        {"u8", Type::u8},     {"u16", Type::u16}, {"u32", Type::u32}, {"u64", Type::u64},
        {"b16", Type::b16},   {"b32", Type::b32}, {"b64", Type::u64}, {"f16", Type::f16},
        {"bf16", Type::bf16}, {"f32", Type::f32}};
    const auto found = types.find(name);
    if (found == types.end()) throw std::invalid_argument("a type: " + std::string(name));
    return found->second;
  }

  void read_code(Instruction& instruction, const std::vector<std::string_view>& words) {
    const std::string_view first = words[0], second = words.size() > 1 ? words[1] : "";
    static const std::map<std::string_view, Code> codes = {
        {"mov", Code::move},      {"cvta", Code::move},      {"add", Code::add},
        {"mul", Code::mul},       {"shl", Code::shift_left}, {"div", Code::divide},
        {"rem", Code::remainder}, {"bra", Code::branch},     {"ret", Code::end},
        {"st", Code::store},      {"cvt", Code::convert}};
    static const std::map<std::string_view, Code> comparisons = {{"eq", Code::equal},
                                                                 {"ne", Code::not_equal},
                                                                 {"lt", Code::less},
                                                                 {"ge", Code::greater_equal}};
    if (first == "emulated_step") {
      instruction.code = Code::step;
      instruction.target = number_in<int>(second);
      return;
    }
    if (const auto found = codes.find(first); found != codes.end()) {
      instruction.code = found->second;
    } else if (first == "mad") {
      instruction.code = second == "wide" ? Code::mad_wide : Code::mad;
    } else if (first == "ld") {
      instruction.code = second == "param" ? Code::load_parameter : Code::load;
    } else if (const auto comparison = comparisons.find(second);
               first == "setp" && comparison != comparisons.end()) {
      instruction.code = comparison->second;
    } else {
      throw std::invalid_argument("an instruction: " + std::string(first));
    }
    if (words.size() == 1 || instruction.code == Code::branch) return;
    instruction.type = type_of(words.back());
    const auto has = [&](const char* word) {
      return std::ranges::find(words, word) != words.end();
    };
    if (has("v4")) instruction.width = 4;
    instruction.is_relaxed = has("relaxed");
    if (instruction.code != Code::convert) return;
    instruction.from = instruction.type;
    instruction.type = type_of(words[words.size() - 2]);
  }

  void read_operands(Instruction& instruction, std::string_view text) {
    if (instruction.code == Code::branch) {
      instruction.target = label(trim(text));
      return;
    }
    const bool stores = instruction.code == Code::store;
    const bool loads = instruction.code == Code::load || instruction.code == Code::load_parameter;
    for (const std::string_view part : split(text, ",{}[] ")) {
      const bool is_address = stores ? instruction.operands.empty()
                                     : std::ssize(instruction.registers) == instruction.width;
      if ((stores || loads) && !is_address)
        instruction.registers.push_back(reg(part));
      else
        instruction.operands.push_back(operand(part));
    }
  }

  Operand operand(std::string_view text) {
    Operand result;
    const std::string_view base = take(text, "+");
    if (!text.empty()) result.number = number_in<std::uint64_t>(text);
    const auto special = std::ranges::find(kSpecial, base);
    const auto parameter = std::ranges::find(parameters_, base);
    if (special != kSpecial.end()) {
      result.kind = Operand::Kind::special;
      result.index = static_cast<int>(special - kSpecial.begin());
    } else if (parameter != parameters_.end()) {
      result.kind = Operand::Kind::parameter;
      result.index = static_cast<int>(parameter - parameters_.begin());
    } else if (base[0] == '%') {
      result.kind = Operand::Kind::reg;
      result.index = reg(base);
    } else {
      result.number = number_in<std::uint64_t>(base);
    }
    return result;
  }
  int reg(std::string_view name) {
    for (std::size_t i = scopes_.size(); i-- > 0;)
      if (const auto found = scopes_[i].find(std::string(name)); found != scopes_[i].end())
        return found->second;
    throw std::invalid_argument("a register: " + std::string(name));
  }
  int label(std::string_view name) {
    const auto found = std::ranges::find(labels_, name, &Label::name);
    if (found == labels_.end()) labels_.push_back({std::string(name)});
    return static_cast<int>(std::ranges::find(labels_, name, &Label::name) - labels_.begin());
  }

  PtxKernel& kernel_;
  std::vector<std::map<std::string, int>> scopes_;
  std::vector<std::string> parameters_;
  std::vector<Label> labels_;
};

PtxKernel::PtxKernel(std::string_view text) { Reader(*this).read(text); }

namespace {

template <class T>
std::uint64_t load_as(const std::byte* from) {
  note_access(from, sizeof(T), {.aligned = true});
  return *reinterpret_cast<const T*>(from);
}
template <class T>
void store_as(std::byte* to, std::uint64_t value) {
  note_access(to, sizeof(T), {.writes = true, .aligned = true});
  *reinterpret_cast<T*>(to) = static_cast<T>(value);
}

}  // namespace

std::size_t PtxKernel::size_of(Type type) {
  switch (type) {
    case Type::u8: return 1;
    case Type::u16:
    case Type::b16:
    case Type::f16:
    case Type::bf16: return 2;
    case Type::u64: return 8;
    default: return 4;
  }
}

std::uint64_t PtxKernel::load(Type type, const std::byte* from) {
  switch (size_of(type)) {
    case 1: return load_as<std::uint8_t>(from);
    case 2: return load_as<std::uint16_t>(from);
    case 4: return load_as<std::uint32_t>(from);
    default: return load_as<std::uint64_t>(from);
  }
}
void PtxKernel::store(Type type, std::byte* to, std::uint64_t value) {
  switch (size_of(type)) {
    case 1: return store_as<std::uint8_t>(to, value);
    case 2: return store_as<std::uint16_t>(to, value);
    case 4: return store_as<std::uint32_t>(to, value);
    default: return store_as<std::uint64_t>(to, value);
  }
}

std::uint64_t PtxKernel::convert(Type to, Type from, std::uint64_t bits) {
  using gradgraph::BFloat16;
  using gradgraph::Half;
  const auto narrow = static_cast<std::uint16_t>(bits);
  if (to == Type::u32 && from == Type::u16) return narrow;
  if (to == Type::f32 && from == Type::u16) return bits_of(static_cast<float>(narrow));
  if (to == Type::f32 && from == Type::f16) return bits_of(Half::from_bits(narrow));
  if (to == Type::u16 && from == Type::f32) return static_cast<std::uint16_t>(as_float(bits));
  if (to == Type::f16 && from == Type::f32) return Half(as_float(bits)).bits();
  if (to == Type::bf16 && from == Type::f32) return BFloat16(as_float(bits)).bits();
  refuse("a conversion that is not emulated");
}

std::uint64_t PtxKernel::calculate(const Instruction& instruction, std::uint64_t a,
                                   std::uint64_t b, std::uint64_t c) {
  const bool is_wide = size_of(instruction.type) == 8;
  const auto cut = [&](std::uint64_t word) {
    return is_wide ? word : static_cast<std::uint32_t>(word);
  };
  a = cut(a), b = cut(b);
  switch (instruction.code) {
    case Code::add: return cut(a + b);
    case Code::mul: return cut(a * b);
    case Code::mad: return cut(a * b + c);
    case Code::mad_wide: return a * b + c;
    case Code::shift_left: return cut(a << b);
    case Code::divide: return a / b;
    case Code::remainder: return a % b;
    case Code::equal: return a == b;
    case Code::not_equal: return a != b;
    case Code::less: return a < b;
    case Code::greater_equal: return a >= b;
    default: return a;
  }
}

void PtxKernel::run(void* const* arguments) const {
  static std::vector<std::uint64_t> registers;  // one thread runs at a time, to its end
  in_kernel = false;
  registers.assign(num_registers_, 0);
  in_kernel = true;
  const auto value = [&](const Operand& operand) -> std::uint64_t {
    switch (operand.kind) {
      case Operand::Kind::reg:
        return registers[static_cast<std::size_t>(operand.index)] + operand.number;
      case Operand::Kind::special: return special_register(operand.index);
      case Operand::Kind::parameter:
        return reinterpret_cast<std::uintptr_t>(arguments[operand.index]) + operand.number;
      default: return operand.number;
    }
  };
  const auto reg = [&](int index) -> std::uint64_t& {
    return registers[static_cast<std::size_t>(index)];
  };
  for (std::size_t next = 0; next < instructions_.size();) {
    const Instruction& instruction = instructions_[next++];
    if (instruction.predicate >= 0 && reg(instruction.predicate) == 0) continue;
    const auto& operands = instruction.operands;
    const auto address = [&] { return reinterpret_cast<std::byte*>(value(operands[0])); };
    switch (instruction.code) {
      case Code::end: return;
      case Code::branch: next = static_cast<std::size_t>(instruction.target); break;
      case Code::load_parameter:
        reg(instruction.registers[0]) = load(instruction.type, address());
        break;
      case Code::load:
      case Code::store: {
        std::byte* const memory = address();
        const std::size_t bytes = size_of(instruction.type);
        if (reinterpret_cast<std::uintptr_t>(memory) % (bytes * instruction.registers.size()) !=
            0)
          refuse("an address that is no multiple of the access's size");
        for (std::size_t i = 0; i < instruction.registers.size(); ++i)
          if (instruction.is_relaxed)
            reg(instruction.registers[i]) =
                load_relaxed(reinterpret_cast<const std::uint32_t*>(memory));
          else if (instruction.code == Code::load)
            reg(instruction.registers[i]) = load(instruction.type, memory + i * bytes);
          else
            store(instruction.type, memory + i * bytes, reg(instruction.registers[i]));
        break;
      }
      case Code::convert:
        reg(operands[0].index) = convert(instruction.type, instruction.from, value(operands[1]));
        break;
      case Code::step:
        reg(operands[0].index) =
            bits_of(emulated_step(instruction.target, as_float(value(operands[1])),
                                  as_float(value(operands[2])), as_float(value(operands[3]))));
        break;
      default:
        reg(operands[0].index) = calculate(instruction, value(operands[1]),
                                           operands.size() > 2 ? value(operands[2]) : 0,
                                           operands.size() > 3 ? value(operands[3]) : 0);
    }
  }
}

}  // namespace cuda_emulation
