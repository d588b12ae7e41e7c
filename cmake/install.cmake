# What `cmake --install` puts where: the same tree as the Debian package (package.cmake).
include(GNUInstallDirs)
find_program(SLUICE_PYTHON python3 PATHS /usr/bin NO_DEFAULT_PATH)

# Manual pages and completions come out of the program itself. A sanitizer's build has none.
if(NOT SLUICE_SANITIZE AND NOT SLUICE_FUZZ)
  set(pages ${CMAKE_BINARY_DIR}/pages)
  set(made ${pages}/sluice.1 ${pages}/sluice.yaml.5 ${pages}/sluice.bash ${pages}/_sluice
    ${pages}/sluice.fish)
  add_custom_command(OUTPUT ${made}
    COMMAND sluice describe > ${CMAKE_BINARY_DIR}/describe.txt
    COMMAND ${SLUICE_PYTHON} ${PROJECT_SOURCE_DIR}/packaging/pages.py ${PROJECT_VERSION} ${pages}
      < ${CMAKE_BINARY_DIR}/describe.txt
    DEPENDS sluice packaging/pages.py packaging/man/sluice.1.in packaging/man/sluice.yaml.5.in
    COMMENT "Making manual pages and completions" VERBATIM)
  add_custom_target(pages ALL DEPENDS ${made})
  set(share ${CMAKE_INSTALL_DATAROOTDIR})
  install(FILES ${pages}/sluice.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
  install(FILES ${pages}/sluice.yaml.5 DESTINATION ${CMAKE_INSTALL_MANDIR}/man5)
  install(FILES ${pages}/sluice.bash DESTINATION ${share}/bash-completion/completions RENAME sluice)
  install(FILES ${pages}/_sluice DESTINATION ${share}/zsh/vendor-completions)
  install(FILES ${pages}/sluice.fish DESTINATION ${share}/fish/vendor_completions.d)
endif()

install(TARGETS sluice RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(FILES README.md LICENSE CHANGELOG.md DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(DIRECTORY docs/ DESTINATION ${CMAKE_INSTALL_DOCDIR}/docs)
install(DIRECTORY systemd/examples/ DESTINATION ${CMAKE_INSTALL_DOCDIR}/examples/systemd)
install(FILES packaging/sluice.yaml docs/sluice.example.yaml
  DESTINATION ${CMAKE_INSTALL_DOCDIR}/examples)
install(FILES systemd/sysusers.conf DESTINATION lib/sysusers.d RENAME sluice.conf)
install(FILES systemd/tmpfiles.conf DESTINATION lib/tmpfiles.d RENAME sluice.conf)
install(FILES systemd/sluice.service systemd/sluice.socket systemd/sluice-kv.socket
  systemd/sluice-monitoring.socket systemd/sluice-gateway.socket
  DESTINATION lib/systemd/system)

# The unit starts the program where it really is, and a configuration that is there stays.
install(CODE "set(source \"${PROJECT_SOURCE_DIR}\")")
install(CODE [[
  set(unit "$ENV{DESTDIR}${CMAKE_INSTALL_PREFIX}/lib/systemd/system/sluice.service")
  file(READ "${unit}" text)
  string(REPLACE "/usr/bin/sluice" "${CMAKE_INSTALL_PREFIX}/bin/sluice" text "${text}")
  file(WRITE "${unit}" "${text}")
  if(EXISTS "$ENV{DESTDIR}/etc/sluice/sluice.yaml")
    message(STATUS "Kept: $ENV{DESTDIR}/etc/sluice/sluice.yaml")
  else()
    file(INSTALL DESTINATION /etc/sluice TYPE FILE
      PERMISSIONS OWNER_READ OWNER_WRITE GROUP_READ FILES "${source}/packaging/sluice.yaml")
  endif()
]])
