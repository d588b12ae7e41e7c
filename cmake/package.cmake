# cpack -G DEB: the Debian package, from what install.cmake installs. package-tree.cmake arranges
# that as Debian wants it. Debug symbols as a package of their own:
#   cpack -G DEB -D CPACK_DEBIAN_DEBUGINFO_PACKAGE=ON
set(SLUICE_DEBIAN_REVISION 1)
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME sluice)
set(CPACK_PACKAGE_VERSION ${PROJECT_VERSION})
set(CPACK_PACKAGE_DIRECTORY ${CMAKE_BINARY_DIR})
set(CPACK_STRIP_FILES ON)
set(CPACK_PROJECT_CONFIG_FILE ${PROJECT_SOURCE_DIR}/cmake/package-options.cmake)
# /etc is outside of the prefix.
set(CPACK_SET_DESTDIR ON)
set(CPACK_INSTALL_PREFIX /usr)
set(CPACK_PRE_BUILD_SCRIPTS ${PROJECT_SOURCE_DIR}/cmake/package-tree.cmake)
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS
  OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)
set(SLUICE_PACKAGING ${PROJECT_SOURCE_DIR}/packaging/deb)
set(CPACK_SLUICE_PACKAGING ${SLUICE_PACKAGING})

set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_RELEASE ${SLUICE_DEBIAN_REVISION})
set(CPACK_DEBIAN_PACKAGE_MAINTAINER "sluice maintainers <maintainers@sluice.invalid>"
  CACHE STRING "who answers for the package")
set(CPACK_DEBIAN_PACKAGE_SECTION database)
set(CPACK_DEBIAN_PACKAGE_PRIORITY optional)
set(CPACK_DEBIAN_COMPRESSION_TYPE xz)
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "Postgres connection pooler and key-value front")
set(CPACK_DEBIAN_PACKAGE_DESCRIPTION "\
Serves many Postgres clients on a small, bounded number of server connections,
as PgBouncer does, with sessions that stay correct in transaction mode. Redis
clients find a key-value store on a port of its own. Prometheus finds metrics.")
# Who makes the user: systemd itself or what stands in for it where it is not installed.
set(CPACK_DEBIAN_PACKAGE_DEPENDS "systemd | systemd-standalone-sysusers | systemd-sysusers")
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_RECOMMENDS ca-certificates)
set(CPACK_DEBIAN_PACKAGE_SUGGESTS "postgresql-client, redis-tools")
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA ${SLUICE_PACKAGING}/postinst ${SLUICE_PACKAGING}/prerm
  ${SLUICE_PACKAGING}/postrm ${SLUICE_PACKAGING}/conffiles)

include(CPack)
