#include "core/index.h"
#include "core/text.h"
#include "gradgraph/sequence.h"
#include "gradients/layers/layer_builder.h"

/// The inputs' part of all steps is one product; what is left for a step is the state's.
namespace gradgraph::nn {
namespace {

/// [N, steps, ...] to [steps, N, ...] and back. A step is then one piece of memory, which is read
/// and made where it lies in all steps.
Output exchange_leading_axes(const Output& x, SourceLocation where) {
  return transpose(x, {1, 0, 2}, where);
}

/// x in pieces of one along axis 0, without it.
std::vector<Output> steps_of(const Output& x, std::int64_t steps, SourceLocation where) {
  std::vector<Output> result =
      split(x, std::vector<std::int64_t>(static_cast<std::size_t>(steps), 1), 0, where);
  for (Output& step : result) step = squeeze(step, {0}, where);
  return result;
}

/// `gates` [N, count * units] one by one.
std::vector<Output> gates_of(const Output& gates, std::size_t count, std::int64_t units,
                             SourceLocation where) {
  return split(gates, std::vector<std::int64_t>(count, units), -1, where);
}

/// What both kinds of cells have in common.
struct Cell {
  LayerBuilder layer;
  SourceLocation where;
  std::int64_t units, gates;
  Output kernel, recurrent_kernel;

  Cell(std::string_view kind, const Module& module, const Output& x, int rank,
       std::int64_t units_, std::int64_t gates_, const Initializer& kernel_initializer,
       const Initializer& recurrent_initializer, SourceLocation line)
      : layer(kind, module, x, line), where(line), units(units_), gates(gates_) {
    layer.require(units > 0, fmt::format("units must be positive, not {}", units));
    layer.require_floating(x);
    layer.require(x.rank() == rank,
                  fmt::format("x must be {}, not {}",
                              rank == 3 ? "[N, steps, features]" : "[N, features]", x.shape()));
    kernel = layer.trainable("kernel", {layer.size(x, rank - 1), gates * units}, x.dtype(),
                             kernel_initializer);
    recurrent_kernel = layer.trainable("recurrent_kernel", {units, gates * units}, x.dtype(),
                                       recurrent_initializer);
  }

  void require_state(const Output& state, const Output& x) const {
    if (!state) return;
    layer.require(state.dtype() == x.dtype() && state.rank() == 2 &&
                      (state.shape()[1] == units || state.shape()[1] == any),
                  fmt::format("a state must be {}[N,{}], not {}{}", x.dtype(), units,
                              state.dtype(), state.shape()));
  }
  /// x with its steps first; 0 behind the lengths, so that nothing there has a part in gradients.
  Output by_steps(const Output& x, const SequenceOptions& sequence) {
    if (x.rank() != 3) return x;
    const std::int64_t steps = layer.size(x, 1);
    layer.require(steps > 0, fmt::format("x has no steps: {}", x.shape()));
    const Output ordered = exchange_leading_axes(x, where);
    if (!sequence.lengths) return ordered;
    const Output numbers = range(x.graph(), {steps}, int64, 0, 1, where);
    is_there = greater(expand_dims(lengths_of(x, sequence.lengths), 0, where),
                       expand_dims(numbers, 1, where), where);
    is_there = expand_dims(is_there, 2, where);
    return gradgraph::where(is_there, ordered, 0, where);
  }
  /// [N] as x has it, also where that is known in a run only.
  Output lengths_of(const Output& x, const Output& lengths) const {
    const std::int64_t samples = x.shape()[0];
    layer.require(
        is_integer(lengths.dtype()) && lengths.rank() == 1 &&
            (samples == any || lengths.shape()[0] == any || lengths.shape()[0] == samples),
        fmt::format("lengths must be integers [{}], not {}{}",
                    samples == any ? "N" : std::to_string(samples), lengths.dtype(),
                    lengths.shape()));
    const auto named = scope(x.graph(), "lengths");
    const Output wide = check_indices(cast(lengths, int64, where), layer.size(x, 1) + 1, where);
    if (samples != any && lengths.shape()[0] == samples) return wide;
    return reshape(wide, slice(shape_of(x, where), {0}, {1}, where), where);
  }

  /// What `step` makes of each piece of `inputs`, one after the other, and of where samples have
  /// that step: boolean [N, 1], empty where all have it.
  template <class Step>
  Output outputs_of(const Output& x, const Output& inputs, bool reverse, const Step& step) const {
    const std::int64_t steps = layer.size(x, 1);
    const std::vector<Output> pieces = steps_of(inputs, steps, where);
    std::vector<Output> outputs(pieces.size()), there(pieces.size());
    if (is_there) there = steps_of(is_there, steps, where);
    for (std::int64_t i = 0; i < steps; ++i) {
      const std::size_t number = at(reverse ? steps - 1 - i : i);
      outputs[number] = step(pieces[number], there[number]);
    }
    return exchange_leading_axes(stack(outputs, 0, where), where);
  }
  /// The new value of samples that are there, and the old one, or 0, of the others.
  Output chosen(const Output& there, const Output& fresh, const Output& old) const {
    if (!there) return fresh;
    return old ? gradgraph::where(there, fresh, old, where)
               : gradgraph::where(there, fresh, 0, where);
  }

  Output is_there;  ///< boolean [steps, N, 1]; empty where all are
};

/// Ones for the forget gate, zeros for the others.
Initializer lstm_bias(std::int64_t units, double forget_bias) {
  return [=](Graph& graph, const Shape& shape, DType dtype, SourceLocation where) {
    Tensor values = Tensor::full(float64, shape, 0);
    std::fill_n(values.data<double>() + units, units, forget_bias);
    return gradgraph::constant(graph, values.cast(dtype), {}, where);
  };
}

class LstmCell : public Cell {
 public:
  LstmCell(const Module& module, const LstmOptions& options, const Output& x, int rank,
           const LstmState& state, const SequenceOptions& sequence, SourceLocation line)
      : Cell("lstm", module, x, rank, options.units, 4, options.kernel_initializer,
             options.recurrent_initializer, line) {
    layer.require(static_cast<bool>(state.hidden) == static_cast<bool>(state.cell),
                  "a state is both hidden and cell, or neither");
    require_state(state.hidden, x);
    require_state(state.cell, x);
    const Output bias =
        layer.trainable("bias", {4 * units}, x.dtype(), lstm_bias(units, options.forget_bias));
    inputs =
        bias_add(matmul(by_steps(x, sequence), kernel, {}, where), bias, Layout::nhwc, where);
  }

  LstmState step(const Output& input, const LstmState& state) const {
    Output sums = input;
    if (state.hidden) sums = add(sums, matmul(state.hidden, recurrent_kernel, {}, where), where);
    const std::vector<Output> parts = gates_of(sums, 4, units, where);
    Output cell = mul(sigmoid(parts[0], where), tanh(parts[2], where), where);
    if (state.cell) cell = add(mul(sigmoid(parts[1], where), state.cell, where), cell, where);
    return {mul(sigmoid(parts[3], where), tanh(cell, where), where), cell};
  }

  Output inputs;  ///< what x gives to the gates
};

class GruCell : public Cell {
 public:
  GruCell(const Module& module, const GruOptions& options, const Output& x, int rank,
          const Output& state, const SequenceOptions& sequence, SourceLocation line)
      : Cell("gru", module, x, rank, options.units, 3, options.kernel_initializer,
             options.recurrent_initializer, line) {
    require_state(state, x);
    const Output bias = layer.trainable("bias", {3 * units}, x.dtype(), zeros());
    recurrent_bias = layer.trainable("recurrent_bias", {3 * units}, x.dtype(), zeros());
    inputs =
        bias_add(matmul(by_steps(x, sequence), kernel, {}, where), bias, Layout::nhwc, where);
  }

  Output step(const Output& input, const Output& state) const {
    // Without a state only its biases are left.
    const std::vector<Output> of_x = gates_of(input, 3, units, where);
    const std::vector<Output> of_state =
        gates_of(state ? bias_add(matmul(state, recurrent_kernel, {}, where), recurrent_bias,
                                  Layout::nhwc, where)
                       : recurrent_bias,
                 3, units, where);
    const Output reset = sigmoid(add(of_x[0], of_state[0], where), where);
    const Output update = sigmoid(add(of_x[1], of_state[1], where), where);
    const Output fresh = tanh(add(of_x[2], mul(reset, of_state[2], where), where), where);
    const Output taken = mul(sub(1, update, where), fresh, where);
    return state ? add(taken, mul(update, state, where), where) : taken;
  }

  Output inputs, recurrent_bias;
};

}  // namespace

Lstm::Lstm(LstmOptions options, std::string_view name)
    : Module(name), options_(std::move(options)) {}

LstmState Lstm::step(Output x, LstmState state, SourceLocation where) const {
  LstmCell cell(*this, options_, x, 2, state, {}, where);
  state = cell.step(cell.inputs, state);
  cell.layer.finish(state.hidden);
  return state;
}

LstmResult Lstm::operator()(Output x, LstmState state, SequenceOptions sequence,
                            SourceLocation where) const {
  LstmCell cell(*this, options_, x, 3, state, sequence, where);
  const auto step = [&](const Output& input, const Output& there) {
    const LstmState fresh = cell.step(input, state);
    state = {cell.chosen(there, fresh.hidden, state.hidden),
             cell.chosen(there, fresh.cell, state.cell)};
    return cell.chosen(there, fresh.hidden, {});
  };
  return {cell.layer.finish(cell.outputs_of(x, cell.inputs, sequence.reverse, step)), state};
}

Gru::Gru(GruOptions options, std::string_view name)
    : Module(name), options_(std::move(options)) {}

Output Gru::step(Output x, Output state, SourceLocation where) const {
  GruCell cell(*this, options_, x, 2, state, {}, where);
  return cell.layer.finish(cell.step(cell.inputs, state));
}

GruResult Gru::operator()(Output x, Output state, SequenceOptions sequence,
                          SourceLocation where) const {
  GruCell cell(*this, options_, x, 3, state, sequence, where);
  const auto step = [&](const Output& input, const Output& there) {
    const Output fresh = cell.step(input, state);
    state = cell.chosen(there, fresh, state);
    return cell.chosen(there, fresh, {});
  };
  return {cell.layer.finish(cell.outputs_of(x, cell.inputs, sequence.reverse, step)), state};
}

}  // namespace gradgraph::nn
