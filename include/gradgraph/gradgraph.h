#pragma once

/// Everything, except for interop headers such as gradgraph/xtensor.h.
#include "gradgraph/data.h"
#include "gradgraph/dot.h"
#include "gradgraph/dtype.h"
#include "gradgraph/error.h"
#include "gradgraph/gradients.h"
#include "gradgraph/graph.h"
#include "gradgraph/kernel.h"
#include "gradgraph/nn.h"
#include "gradgraph/op.h"
#include "gradgraph/operands.h"
#include "gradgraph/ops.h"
#include "gradgraph/optimizers.h"
#include "gradgraph/profile.h"
#include "gradgraph/session.h"
#include "gradgraph/shape.h"
#include "gradgraph/tensor.h"
