#pragma once

#include <cstdint>
#include <string_view>

#include "gradgraph/nn.h"

/// Layers for sequences. See nn.h for what layers have in common.
namespace gradgraph GRADGRAPH_API {
namespace nn {

/// How a recurrent layer goes over its steps.
struct SequenceOptions {
  /// How many steps each sample has, integers [N]; empty: all. What lies behind them is not read:
  /// the state stays as it is and outputs are 0. One below 0 or beyond the steps throws RunError
  /// in a run. Source: pack_padded_sequence of torch.nn.utils.
  Output lengths = {};
  /// From a sample's last step to its first. Outputs stand where their steps do, so that those of
  /// both directions can be put side by side: `concat({forward, backward}, -1)`.
  bool reverse = false;
};

struct LstmOptions {
  std::int64_t units = 0;
  Initializer kernel_initializer = glorot_uniform();
  Initializer recurrent_initializer = glorot_uniform();
  /// Of the forget gate, so that a new network remembers; the other gates' biases begin at 0.
  /// Source: Jozefowicz et al. 2015.
  double forget_bias = 1;
};
/// [N, units] each; empty before the first step, where both count as 0.
struct LstmState {
  Output hidden, cell;
};
struct LstmResult {
  Output outputs;   ///< [N, steps, units]: the hidden state after each step
  LstmState state;  ///< after the last one that was made
};
/// Long short-term memory: kernel [features, 4 units], recurrent_kernel [units, 4 units] and bias
/// [4 units], gates in the order input, forget, cell, output.
/// Source: Hochreiter and Schmidhuber 1997; keras.layers.LSTM, torch.nn.LSTM.
class Lstm : public Module {
 public:
  explicit Lstm(LstmOptions options, std::string_view name = "lstm");
  /// All steps of x [N, steps, features]; steps and features must be known.
  LstmResult operator()(Output x, LstmState state = {}, SequenceOptions sequence = {},
                        SourceLocation where = SourceLocation::current()) const;
  /// One step, of x [N, features].
  LstmState step(Output x, LstmState state = {},
                 SourceLocation where = SourceLocation::current()) const;

 private:
  LstmOptions options_;
};

struct GruOptions {
  std::int64_t units = 0;
  Initializer kernel_initializer = glorot_uniform();
  Initializer recurrent_initializer = glorot_uniform();
};
struct GruResult {
  Output outputs;  ///< [N, steps, units]: the state after each step
  Output state;    ///< [N, units], after the last one that was made
};
/// A gated recurrent unit, reset after the product: kernel [features, 3 units], recurrent_kernel
/// [units, 3 units], bias and recurrent_bias [3 units], gates in the order reset, update, new.
/// Source: Cho et al. 2014; torch.nn.GRU.
class Gru : public Module {
 public:
  explicit Gru(GruOptions options, std::string_view name = "gru");
  /// All steps of x [N, steps, features], from `state` [N, units] on, an empty one being 0; steps
  /// and features must be known.
  GruResult operator()(Output x, Output state = {}, SequenceOptions sequence = {},
                       SourceLocation where = SourceLocation::current()) const;
  /// One step, of x [N, features].
  Output step(Output x, Output state = {},
              SourceLocation where = SourceLocation::current()) const;

 private:
  GruOptions options_;
};

struct AttentionOptions {
  std::int64_t heads = 1;
  std::int64_t head_size = 0;  ///< 0: the width of queries, by heads, which must divide it
  /// A query sees keys up to its own position only; there must be as many as queries.
  bool causal = false;
  double dropout_rate = 0;  ///< of attention weights
  Output training = {};     ///< a boolean scalar, needed where there is dropout
  bool use_bias = true;
  Initializer kernel_initializer = glorot_uniform();
};
/// What a query attends to.
struct AttentionInputs {
  Output keys = {};    ///< [N, keys, width]; empty: the queries
  Output values = {};  ///< [N, keys, width]; empty: the keys
  /// Where a query sees a key: boolean, broadcasts to [N, heads, queries, keys], so that where
  /// keys are padding is [N, 1, 1, keys]; empty: everywhere.
  Output mask = {};
};
/// Softmax of products of queries and keys, by which values are weighed, in several heads:
/// projections "query", "key", "value" and "output", each a kernel and a bias. A query that sees
/// no key gets NaN. Source: Vaswani et al. 2017; torch.nn.MultiheadAttention.
class MultiHeadAttention : public Module {
 public:
  explicit MultiHeadAttention(AttentionOptions options, std::string_view name = "attention");
  /// queries [N, queries, width] -> the same shape.
  Output operator()(Output queries, AttentionInputs inputs = {},
                    SourceLocation where = SourceLocation::current()) const;

 private:
  AttentionOptions options_;
};

}  // namespace nn
}  // namespace gradgraph
