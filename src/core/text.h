#pragma once

#include <fmt/format.h>
#include <fmt/ostream.h>

#include <span>
#include <string>

#include "gradgraph/dtype.h"
#include "gradgraph/error.h"
#include "gradgraph/shape.h"

/// fmt knows our types: fmt::format("{} {}", dtype, shape).
template <>
struct fmt::formatter<gradgraph::DType> : fmt::formatter<std::string_view> {
  auto format(gradgraph::DType dtype, fmt::format_context& context) const {
    return fmt::formatter<std::string_view>::format(gradgraph::name(dtype), context);
  }
};
template <>
struct fmt::formatter<gradgraph::Shape> : fmt::formatter<std::string_view> {
  auto format(const gradgraph::Shape& shape, fmt::format_context& context) const {
    return fmt::formatter<std::string_view>::format(shape.to_string(), context);
  }
};

namespace gradgraph {

/// "boolean": how programs write it behind gg::, where `name` says "bool".
inline std::string_view cpp_name(DType dtype) {
  return dtype == boolean ? "boolean" : name(dtype);
}

/// "train.cpp:31": the last part of the path is enough to find a line.
std::string to_string(SourceLocation where);

/// "[op] 'node': message", the form of every message about a node; Error appends file and line.
std::string node_message(std::string_view op, std::string_view node, std::string_view message);

/// The error's message without the line at its end, for one that names another line.
std::string without_line(const Error& error);

}  // namespace gradgraph
