# Read by CPack when it runs. It takes debug symbols out of the program by itself, if it is asked to
# and finds them there.
if(CPACK_DEBIAN_DEBUGINFO_PACKAGE)
  set(CPACK_STRIP_FILES OFF)
endif()
