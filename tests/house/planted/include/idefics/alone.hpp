// A planted fault: compiles only behind a header that includes <vector>.
#pragma once
inline int first(const std::vector<int>& values) { return values.front(); }
