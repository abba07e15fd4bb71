#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "gradgraph/dtype.h"
#include "gradgraph/shape.h"
#include "gradgraph/source_location.h"

namespace gradgraph {

/// A tensor as a file tells of it.
struct StoredTensor {
  std::string name;
  std::string dtype_name;      ///< the file's own: "F32"
  std::optional<DType> dtype;  ///< none where no DType is like it
  Shape shape;
  std::size_t begin = 0, bytes = 0;  ///< in the file
};

struct SafetensorsHeader {
  std::vector<StoredTensor> tensors;  ///< in the order of their bytes, which leave no gap
  std::map<std::string, std::string> metadata;
  std::size_t data_begin = 0;  ///< in the file
};

/// Checks all that a file's header says against the file. Throws DataError; `path` is for its
/// message.
SafetensorsHeader parse_safetensors(std::span<const std::byte> file, const std::string& path);

/// The first bytes of a file of these tensors, whose `begin` it fills in: they follow each other.
/// Throws BuildError for text that is no UTF-8.
std::string make_safetensors_header(std::vector<StoredTensor>& tensors,
                                    const std::map<std::string, std::string>& metadata,
                                    SourceLocation where = {});

/// "F32".
std::string safetensors_name(DType dtype);

}  // namespace gradgraph
