#include "settings.h"

namespace gradgraph::tests {

void in_every_setting(const std::function<void()>& body) { body(); }

}  // namespace gradgraph::tests
