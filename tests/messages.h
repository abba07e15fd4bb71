#pragma once

#include <string>

#include "gradgraph/error.h"

namespace gradgraph::tests {

/// What `action` throws says, or "(no error)".
template <class E = Error, class Action>
std::string message_of(const Action& action) {
  try {
    action();
  } catch (const E& error) {
    return error.what();
  }
  return "(no error)";
}

inline bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace gradgraph::tests
