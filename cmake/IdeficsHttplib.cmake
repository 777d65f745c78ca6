# idefics_httplib: cpp-httplib for `idefics serve` and its tests, if it is there in a version whose
# connections can be replaced (0.11 is; samples/cli/serve/connection.hpp limits their time).
if(TARGET idefics_httplib)
  return()
endif()
find_package(PkgConfig QUIET)
if(PkgConfig_FOUND)
  pkg_check_modules(IDEFICS_HTTPLIB QUIET IMPORTED_TARGET cpp-httplib)
endif()
if(NOT TARGET PkgConfig::IDEFICS_HTTPLIB)
  message(STATUS "cpp-httplib not found: idefics serve will only report that")
  return()
endif()

include(CheckCXXSourceCompiles)
set(CMAKE_REQUIRED_LIBRARIES PkgConfig::IDEFICS_HTTPLIB Threads::Threads)
check_cxx_source_compiles([[
#include <httplib.h>
struct Connection final : httplib::Stream {
  bool is_readable() const override { return false; }
  bool is_writable() const override { return false; }
  ssize_t read(char*, std::size_t) override { return -1; }
  ssize_t write(const char*, std::size_t) override { return -1; }
  void get_remote_ip_and_port(std::string&, int&) const override {}
  void get_local_ip_and_port(std::string&, int&) const override {}
  socket_t socket() const override { return 0; }
};
struct Server : httplib::Server {
  bool serve(Connection& connection, bool& closed) {
    return process_request(connection, false, closed, [](httplib::Request&) {});
  }
};
int main() {
  Connection connection;
  bool closed = false;
  return Server().serve(connection, closed) ? 1 : 0;
}
]] IDEFICS_HTTPLIB_IS_KNOWN)
unset(CMAKE_REQUIRED_LIBRARIES)
if(NOT IDEFICS_HTTPLIB_IS_KNOWN)
  message(STATUS "cpp-httplib ${IDEFICS_HTTPLIB_VERSION} has another interface than 0.11: idefics serve will only report that")
  return()
endif()
add_library(idefics_httplib INTERFACE)
target_link_libraries(idefics_httplib INTERFACE PkgConfig::IDEFICS_HTTPLIB)
