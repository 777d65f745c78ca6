// A planted fault: compiles only after a header that includes <vector>.
#pragma once
inline int first(const std::vector<int>& values) { return values.front(); }
