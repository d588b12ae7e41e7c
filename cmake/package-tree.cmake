# Run by CPack between installing and packing: the installed tree as Debian's policy wants it.
set(root ${CPACK_TEMPORARY_INSTALL_DIRECTORY})
set(doc ${root}/usr/share/doc/sluice)

function(compress)  # file...
  execute_process(COMMAND gzip -9nf ${ARGN} COMMAND_ERROR_IS_FATAL ANY)
endfunction()

# bookworm's tools look for units below /lib.
file(MAKE_DIRECTORY ${root}/lib)
file(RENAME ${root}/usr/lib/systemd ${root}/lib/systemd)

file(RENAME ${doc}/CHANGELOG.md ${doc}/changelog)
file(COPY_FILE ${CPACK_SLUICE_PACKAGING}/changelog ${doc}/changelog.Debian)
file(COPY_FILE ${CPACK_SLUICE_PACKAGING}/copyright ${doc}/copyright)
file(MAKE_DIRECTORY ${root}/usr/share/lintian/overrides)
file(COPY_FILE ${CPACK_SLUICE_PACKAGING}/lintian-overrides
  ${root}/usr/share/lintian/overrides/sluice)
# The copyright file says it; the configuration itself is in /etc/sluice.
file(REMOVE ${doc}/LICENSE ${doc}/examples/sluice.yaml)
compress(${doc}/changelog ${doc}/changelog.Debian
  ${root}/usr/share/man/man1/sluice.1 ${root}/usr/share/man/man5/sluice.yaml.5)
file(GLOB_RECURSE plain ${root}/usr/share/* ${root}/usr/lib/* ${root}/lib/*)
file(CHMOD ${plain} PERMISSIONS OWNER_READ OWNER_WRITE GROUP_READ WORLD_READ)
file(CHMOD ${root}/etc/sluice/sluice.yaml PERMISSIONS OWNER_READ OWNER_WRITE GROUP_READ)
