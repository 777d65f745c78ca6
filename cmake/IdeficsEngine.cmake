# The engine compiled once: programs that link it compile in seconds, see no template of it
# instantiated, and use the same headers (core/config.hpp, IDEFICS_EXTERN_ENGINE).
#
#   idefics::engine         a static library
#   idefics::engine_shared  a shared one, of the same objects
#
# Both link idefics::cuda if it is built. They are compiled only if something links them, or for
# installation (IDEFICS_ENGINE).
set(dependencies idefics::idefics)
if(TARGET idefics::cuda)
  list(APPEND dependencies idefics::cuda)
endif()
add_library(idefics_engine_objects OBJECT EXCLUDE_FROM_ALL ${PROJECT_SOURCE_DIR}/cmake/engine.cpp)
target_link_libraries(idefics_engine_objects PRIVATE ${dependencies})
set_target_properties(idefics_engine_objects PROPERTIES POSITION_INDEPENDENT_CODE ON)

add_library(idefics_engine STATIC $<TARGET_OBJECTS:idefics_engine_objects>)
add_library(idefics_engine_shared SHARED $<TARGET_OBJECTS:idefics_engine_objects>)
foreach(name IN ITEMS engine engine_shared)
  add_library(idefics::${name} ALIAS idefics_${name})
  target_link_libraries(idefics_${name} PUBLIC ${dependencies})
  target_compile_definitions(idefics_${name} INTERFACE IDEFICS_EXTERN_ENGINE)
  set_target_properties(idefics_${name} PROPERTIES EXPORT_NAME ${name} OUTPUT_NAME idefics_engine
    VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR})
  if(NOT IDEFICS_INSTALL OR NOT IDEFICS_ENGINE)
    set_target_properties(idefics_${name} PROPERTIES EXCLUDE_FROM_ALL ON)
  endif()
endforeach()
