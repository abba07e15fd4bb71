#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace cuda_emulation {

/// A kernel of PTX, carried out instruction by instruction. It knows what generated kernels
/// consist of, on 64-bit addresses: no functions, no shared memory, no barriers.
class PtxKernel {
 public:
  /// Throws std::invalid_argument, with the line, on what it does not know.
  explicit PtxKernel(std::string_view text);

  const std::string& name() const { return name_; }
  const std::vector<std::size_t>& parameter_sizes() const { return parameter_sizes_; }
  /// As the running thread.
  void run(void* const* arguments) const;

 private:
  struct Operand {
    enum class Kind : std::uint8_t { number, reg, parameter, special } kind = Kind::number;
    int index = 0;  ///< of the register, the parameter whose address it is, the special register
    std::uint64_t number = 0;  ///< added to them
  };
  enum class Code : std::uint8_t {
    move,
    add,
    mul,
    mad,
    mad_wide,
    shift_left,
    divide,
    remainder,
    equal,
    not_equal,
    less,
    greater_equal,
    branch,
    end,
    load,
    load_parameter,
    store,
    convert,
    step,
  };
  enum class Type : std::uint8_t { u8, u16, u32, u64, b16, b32, f16, bf16, f32 };
  struct Instruction {
    Code code = Code::end;
    Type type = Type::u32, from = Type::u32;
    int predicate = -1;          ///< a register, or always
    int width = 1;               ///< elements of a load or store
    int target = 0;              ///< of a branch; the number of a step
    bool is_relaxed = false;     ///< of a load
    std::vector<int> registers;  ///< that are loaded, or stored
    std::vector<Operand> operands;
  };

  class Reader;

  static std::size_t size_of(Type type);
  static std::uint64_t load(Type type, const std::byte* from);
  static void store(Type type, std::byte* to, std::uint64_t value);
  static std::uint64_t convert(Type to, Type from, std::uint64_t bits);
  static std::uint64_t calculate(const Instruction& instruction, std::uint64_t a, std::uint64_t b,
                                 std::uint64_t c);

  std::string name_;
  std::vector<std::size_t> parameter_sizes_;
  std::vector<Instruction> instructions_;
  std::size_t num_registers_ = 0;
};

/// What `emulated_step.N d, a, b, c` does, which no GPU has: in place of code that only nvcc
/// writes.
using PtxStep = float (*)(int number, float a, float b, float c);
void set_ptx_step(PtxStep step);

}  // namespace cuda_emulation
