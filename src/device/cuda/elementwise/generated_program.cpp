#include "device/cuda/elementwise/generated_program.h"

#include <algorithm>
#include <bit>
#include <iterator>

#include "core/text.h"
#include "device/cuda/elementwise/step_functions.h"

namespace gradgraph::cuda {
namespace {

/// How PTX loads an element, and what it is then.
struct Storage {
  int bytes;
  std::string_view type, registers;
};
Storage storage_of(Stored stored) {
  switch (stored) {
    case Stored::byte: return {1, "u8", "%half"};
    case Stored::float16:
    case Stored::bfloat16: return {2, "b16", "%half"};
    default: return {4, "f32", ""};
  }
}

/// Its registers have words for names: those of steps, %f1 and the like, hide others so called.
class Writer {
 public:
  Writer(const FloatCode& code, const AddressTable& table, int lanes, bool may_stop)
      : code_(code), table_(table), lanes_(lanes), may_stop_(may_stop) {}

  std::string write() {
    begin();
    bring_addresses();
    bring_uniforms();
    put("$next:");
    find_views();
    for (int load = 0; load < code_.num_loads; ++load) bring(load);
    if (may_stop_) put("@%stops bra $end;");
    for (int i = 0; i < code_.num_steps; ++i)
      if (!run(code_.steps[i])) return {};
    put("add.u32 %at, %at, %stride;");
    put("setp.lt.u32 %more, %at, %count;");
    put("@%more bra $next;");
    put("$end:\nret;\n}}");
    return std::move(text_);
  }

 private:
  template <class... A>
  void put(fmt::format_string<A...> format, A&&... arguments) {
    fmt::format_to(std::back_inserter(text_), format, std::forward<A>(arguments)...);
    text_ += '\n';
  }

  void begin() {
    put(".version 7.1\n.target sm_80\n.address_size 64");
    put(".visible .entry program(.param .align 8 .b8 addresses[{}], .param .u64 earliest, "
        ".param .u32 rank, .param .u32 count)",
        8 * num_addresses(table_));
    put(".maxntid {}, 1, 1\n{{", kGeneratedThreads);
    put(".reg .b32 %at, %count, %stride, %block, %threads, %set, %rest, %bits, %axis<{}>, "
        "%view<{}>;",
        Shape::kMaxRank, kMaxViews);
    put(".reg .b32 %earliest, %rank;");
    put(".reg .b64 %table, %own, %stopper, %input<{}>, %output<{}>, %address;", kMaxInputs,
        kMaxOutputs);
    put(".reg .b16 %half<4>;\n.reg .pred %more, %stops;");
    put(".reg .f32 %uniform<{}>, %constant<{}>, %last<4>, %value<{}>;", kMaxFloatUniforms,
        kMaxFloatConstants, 4 * kMaxFloatRegisters);
    put("mov.u32 %block, %ctaid.x;\nmov.u32 %threads, %ntid.x;\nmov.u32 %at, %tid.x;");
    put("mad.lo.u32 %at, %block, %threads, %at;");
    put("mov.u32 %block, %nctaid.x;\nmul.lo.u32 %stride, %block, %threads;");
    if (lanes_ == 4) put("shl.b32 %at, %at, 2;\nshl.b32 %stride, %stride, 2;");
    put("ld.param.u32 %count, [count];\nsetp.ge.u32 %more, %at, %count;\n@%more bra $end;");
    if (!may_stop_) return;
    put("ld.param.u64 %stopper, [earliest];\nld.param.u32 %rank, [rank];");
    put("mov.b32 %earliest, 0;\nsetp.ne.u64 %more, %stopper, 0;");
    put("@%more ld.relaxed.gpu.global.u32 %earliest, [%stopper];\nsetp.ge.u32 %stops, %earliest, "
        "%rank;");
  }

  void bring_addresses() {
    put("mov.b64 %table, addresses;\nmov.u32 %set, %ctaid.y;");
    put("mad.wide.u32 %own, %set, {}, %table;", 8 * table_.of_set());
    for (int i = 0; i < table_.inputs_of_set; ++i)
      bring_address("%input", i, "%own", table_.shared + i);
    for (int i = 0; i < table_.shared; ++i)
      bring_address("%input", table_.inputs_of_set + i, "%table", i);
    for (int i = 0; i < table_.outputs_of_set; ++i)
      bring_address("%output", i, "%own", table_.shared + table_.inputs_of_set + i);
  }
  void bring_address(std::string_view to, int i, std::string_view from, int place) {
    put("ld.param.u64 %address, [{}+{}];\ncvta.to.global.u64 {}{}, %address;", from, 8 * place,
        to, i);
  }

  void bring_uniforms() {
    for (int i = 0; i < code_.num_constants; ++i)
      put("mov.b32 %constant{}, {};", i, std::bit_cast<std::uint32_t>(code_.constants[i]));
    for (int i = 0; i < code_.num_uniforms; ++i) {
      const int input = code_.uniforms[i];
      load_element(input, fmt::format("%input{}", input), fmt::format("%uniform{}", i));
    }
  }

  bool is_used(int view) const {
    for (int load = 0; load < code_.num_loads; ++load)
      if (code_.reading[code_.loads[load]] == view) return true;
    return std::ranges::find(code_.writing, view + 1) != std::end(code_.writing);
  }
  /// Where each view is for the first of the elements.
  void find_views() {
    if (code_.num_axes == 0) return;
    put("mov.b32 %rest, %at;");
    for (int axis = 0; axis + 1 < code_.num_axes; ++axis) {
      const int extent = code_.extents[axis].divisor();
      put("rem.u32 %axis{0}, %rest, {1};\ndiv.u32 %rest, %rest, {1};", axis, extent);
    }
    put("mov.b32 %axis{}, %rest;", code_.num_axes - 1);
    for (int view = 0; view < kMaxViews; ++view) {
      if (!is_used(view)) continue;
      put("mov.b32 %view{}, 0;", view);
      for (int axis = 0; axis < code_.num_axes; ++axis)
        if (const int stride = code_.strides[view][axis]; stride != 0)
          put("mad.lo.u32 %view{0}, %axis{1}, {2}, %view{0};", view, axis, stride);
    }
  }

  void bring(int load) {
    const int input = code_.loads[load], view = code_.reading[input];
    const Storage storage = storage_of(code_.inputs_stored[input]);
    if (view == kOwnIndex) {
      put("mad.wide.u32 %address, %at, {}, %input{};", storage.bytes, input);
      if (lanes_ == 4) return load_quad(input, load);
      return load_element(input, "%address", place(load, 0));
    }
    put("mad.wide.u32 %address, %view{}, {}, %input{};", view, storage.bytes, input);
    const int step = lanes_ == 4 ? code_.strides[view][0] : 0;
    for (int lane = 0; lane < lanes_; ++lane)
      if (lane == 0 || step != 0)
        load_element(input, fmt::format("%address+{}", lane * step * storage.bytes),
                     place(load, lane));
      else
        put("mov.b32 {}, {};", place(load, lane), place(load, 0));
  }
  void load_element(int input, std::string_view address, const std::string& to) {
    const Stored stored = code_.inputs_stored[input];
    const Storage storage = storage_of(stored);
    put("ld.global.{} {}, [{}];", storage.type, storage.registers.empty() ? to : "%half0",
        address);
    widen(stored, to, 0);
  }
  void load_quad(int input, int load) {
    const Stored stored = code_.inputs_stored[input];
    const Storage storage = storage_of(stored);
    put("ld.global.v4.{} {}, [%address];", storage.type, quad(storage, "%value", lanes_ * load));
    for (int lane = 0; lane < lanes_; ++lane) widen(stored, place(load, lane), lane);
  }
  /// What was loaded as bytes or 16 bits.
  void widen(Stored stored, const std::string& to, int lane) {
    switch (stored) {
      case Stored::byte: return put("cvt.rn.f32.u16 {}, %half{};", to, lane);
      case Stored::float16: return put("cvt.f32.f16 {}, %half{};", to, lane);
      case Stored::bfloat16:
        return put("cvt.u32.u16 %bits, %half{};\nshl.b32 %bits, %bits, 16;\nmov.b32 {}, %bits;",
                   lane, to);
      default: return;
    }
  }
  static std::string quad(const Storage& storage, std::string_view registers, int first) {
    const bool is_wide = storage.registers.empty();
    const std::string_view name = is_wide ? registers : storage.registers;
    const int from = is_wide ? first : 0;
    return fmt::format("{{{0}{1}, {0}{2}, {0}{3}, {0}{4}}}", name, from, from + 1, from + 2,
                       from + 3);
  }

  std::string place(int reg, int lane) const {
    return fmt::format("%value{}", lanes_ * reg + lane);
  }
  std::string operand(int where, int lane) const {
    return where == kLast            ? fmt::format("%last{}", lane)
           : where >= kConstantValue ? fmt::format("%constant{}", where - kConstantValue)
           : where >= kUniform       ? fmt::format("%uniform{}", where - kUniform)
                                     : place(where, lane);
  }

  bool run(const FloatStep& step) {
    for (int lane = 0; lane < lanes_; ++lane) {
      const std::string result = fmt::format("%last{}", lane);
      if (step.code == kItself) {
        put("mov.b32 {}, {};", result, operand(step.operands[0], lane));
      } else if (!calculate(step, lane, result)) {
        return false;
      }
      if (step.result != kNowhere) put("mov.b32 {}, {};", place(step.result, lane), result);
    }
    if (step.output != kNowhere) send(step.output);
    return true;
  }
  bool calculate(const FloatStep& step, int lane, const std::string& result) {
    const std::string& lines = step_function(step.code);
    if (lines.empty()) return false;
    for (std::size_t i = 0; i < lines.size(); ++i) {
      if (lines[i] != '#') {
        text_ += lines[i];
      } else {
        const int number = lines[++i] - '0';
        text_ += number == 3 ? result : operand(step.operands[number], lane);
      }
    }
    return true;
  }

  /// What the step made.
  void send(int output) {
    const Stored stored = code_.outputs_stored[output];
    const Storage storage = storage_of(stored);
    const int view = code_.writing[output] - 1;
    const std::string index = view < 0 ? "%at" : fmt::format("%view{}", view);
    put("mad.wide.u32 %address, {}, {}, %output{};", index, storage.bytes, output);
    if (!storage.registers.empty())
      for (int lane = 0; lane < lanes_; ++lane)
        put("cvt.{}.f32 %half{}, %last{};", narrowing(stored), lane, lane);
    if (lanes_ == 4 && view < 0)
      return put("st.global.v4.{} [%address], {};", storage.type, quad(storage, "%last", 0));
    for (int lane = 0; lane < lanes_; ++lane)
      put("st.global.{} [%address+{}], {}{};", storage.type,
          view < 0 ? 0 : lane * code_.strides[view][0] * storage.bytes,
          storage.registers.empty() ? "%last" : "%half", lane);
  }
  static std::string_view narrowing(Stored stored) {
    return stored == Stored::byte ? "rzi.u16" : stored == Stored::float16 ? "rn.f16" : "rn.bf16";
  }

  const FloatCode& code_;
  const AddressTable& table_;
  int lanes_;
  bool may_stop_;
  std::string text_;
};

}  // namespace

std::string write_program(const FloatCode& code, const AddressTable& table, int lanes,
                          bool may_stop) {
  return Writer(code, table, lanes, may_stop).write();
}

int num_addresses(const AddressTable& table) {
  constexpr unsigned kLeast = 16;
  const unsigned size = std::bit_ceil(std::max(static_cast<unsigned>(table.size()), kLeast));
  return std::min(static_cast<int>(size), kMaxAddresses);
}

bool has_quads(const FloatCode& code) {
  return code.count % 4 == 0 && (code.num_axes == 0 || code.four_share_row);
}

}  // namespace gradgraph::cuda
